"""Text for people: what a message quotes from a file, a database or a card writes nothing else on the terminal."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

from edge.host.one_line import printable

ERASE_LINE = "\r\x1b[K"


class PlainText:
    """A stream that each message is written to at once, so that a line end within one was quoted and is escaped.

    With `paragraphs` messages have several lines: line ends and tabs stay.
    """

    def __init__(self, out: TextIO, paragraphs: bool = False) -> None:
        self.out = out
        self._kept = re.compile("([\n\t])" if paragraphs else r"(\n\Z)")

    def write(self, text: str) -> int:
        # Every second part is what stays.
        parts = [part if place % 2 else printable(part) for place, part in enumerate(self._kept.split(text))]
        encoding = self.out.encoding or "utf-8"
        return self.out.write("".join(parts).encode(encoding, "backslashreplace").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.out, name)


class Screen(io.RawIOBase):
    """A terminal that a file is written to, in UTF-8: its lines are shown, its control characters are escaped."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        text = bytes(content).decode("utf-8", "backslashreplace")
        self._out.write("\n".join(map(printable, text.split("\n"))).encode())
        return len(content)


def as_it_is(stream: TextIO) -> TextIO:
    """The stream itself, for what writes control characters of its own."""
    return stream.out if isinstance(stream, PlainText) else stream


@contextmanager
def plain_streams(paragraphs: bool = False) -> Iterator[None]:
    """Whatever is printed meanwhile is plain text, also by libraries and log handlers."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainText(as_it_is(out), paragraphs), PlainText(as_it_is(err), paragraphs)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
