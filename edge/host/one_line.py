"""Text from outside as it may stand in a message: in one line, bounded, and without control characters."""


def printable(text: str) -> str:
    """`text` without control characters: a name must not be able to write on the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def one_line(value: object, longest: int = 200) -> str:
    """What an exception or a value says, in one line of at most `longest` characters."""
    return shortened(printable(" ".join(str(value).split())), longest)


def shortened(text: str, longest: int) -> str:
    """`text`, of which the middle is left out where it is longer."""
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
