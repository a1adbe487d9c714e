"""Text for people: what a message quotes from a file, a database or a card writes nothing else on the terminal."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TextIO

from edge.host.one_line import printable

ERASE_LINE = "\r\x1b[K"


class PlainText:
    """A stream that each message is written to at once, so that a line end within one was quoted and is escaped."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def write(self, text: str) -> int:
        line, end = (text[:-1], "\n") if text.endswith("\n") else (text, "")
        line = printable(line)
        encoding = self.out.encoding or "utf-8"
        return self.out.write(line.encode(encoding, "backslashreplace").decode(encoding) + end)

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
def plain_streams() -> Iterator[None]:
    """Whatever is printed meanwhile is plain text, also by libraries and log handlers."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = PlainText(as_it_is(out)), PlainText(as_it_is(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
