"""Training: from labelled images to a checkpoint that `export` turns into a model for the device."""

import sys


class TrainError(Exception):
    """An expected failure; its text is one line with the fact, what was expected, and what to do next."""


def notice(line: str) -> None:
    """Print a line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
