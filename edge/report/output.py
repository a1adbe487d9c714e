"""Destination of a report: files are replaced only when the new one is complete."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from edge.host.output_file import Guard, IsOwn, unlike_any
from edge.host.plain_text import Screen
from edge.report.errors import ReportError

ERRORS = "backslashreplace"
"""How bytes of names that are not UTF-8 are written."""


def utf8(text: str) -> bytes:
    """Text as it goes into files."""
    return text.encode("utf-8", ERRORS)


Progress = Callable[[str], None]
"""Shows what a long report is at, in one line that the next one replaces; an empty line clears it."""


@dataclass(frozen=True, slots=True)
class Written:
    """The outcome of writing a report."""

    contents: str
    """What was written, such as `1,234 lines`."""
    problem_found: bool = False
    """Whether the report is a check that found a problem."""


def counted(number: int, word: str, words: str = "") -> str:
    """A number with its noun: `1 line`, `1,234 lines`."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


@dataclass(frozen=True, slots=True)
class Output:
    """The place that --out names, or standard output."""

    path: Path | None
    progress: Progress = lambda line: None
    guard: Guard = Guard()
    is_own: IsOwn = unlike_any
    """Tells a former output at `path`."""

    def warn(self, line: str) -> None:
        """Tell the user something in one line on standard error."""
        self.progress("")
        print(f"edge-report: {line}", file=sys.stderr)

    @contextmanager
    def binary(self) -> Iterator[BinaryIO]:
        """For bytes; replaces the file when all of it is there."""
        if self.path is None:
            sys.stdout.flush()
            screen = sys.stdout.isatty()
            yield cast(BinaryIO, Screen(sys.stdout.buffer)) if screen else sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with self.guard.replacing(self.path, self.is_own) as file:
            yield file

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """The same for text, written as UTF-8 with the line ends as they are."""
        with self.binary() as file, as_text(file) as text:
            yield text

    def check(self, *members: tuple[str, IsOwn]) -> None:
        """Refuse early what `binary` or, for these members of the folder, `member` would refuse at the end."""
        if self.path is None:
            return
        for name, is_own in members:
            self.guard.check(self.path / name, is_own)
        if not members:
            self.guard.check(self.path, self.is_own)

    @contextmanager
    def member(self, name: str, is_own: IsOwn) -> Iterator[BinaryIO]:
        """For one file in the folder that --out names."""
        with self.guard.replacing(self.folder() / name, is_own) as file:
            yield file

    def folder(self) -> Path:
        """The folder that --out named, made if need be."""
        assert self.path is not None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReportError(f"{self.path}: {error.strerror}; --out names a folder for this format") from error
        return self.path


@contextmanager
def as_text(file: BinaryIO) -> Iterator[TextIO]:
    """A file of bytes for text in UTF-8, with the line ends as they are."""
    text = TextIOWrapper(file, encoding="utf-8", newline="", errors=ERRORS, write_through=True)
    try:
        yield text
    finally:
        text.detach()  # the caller closes `file`
