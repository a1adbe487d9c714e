"""What a decoder says of a file that cannot be classified."""

from edge.vocabulary import FileReason


class BadFrame(Exception):
    """A file that cannot be classified: the reason and one line for people."""

    def __init__(self, reason: FileReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
