"""Destination of a report: files are replaced only when the new one is complete."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

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

    def warn(self, line: str) -> None:
        """Tell the user something in one line on standard error."""
        self.progress("")
        print(f"edge-report: {line}", file=sys.stderr)

    @contextmanager
    def binary(self) -> Iterator[BinaryIO]:
        """For bytes; replaces the file when all of it is there."""
        if self.path is None:
            sys.stdout.flush()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with replacing(self.path) as file:
            yield file

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """The same for text, written as UTF-8 with the line ends as they are."""
        with self.binary() as file:
            text = TextIOWrapper(file, encoding="utf-8", newline="", errors=ERRORS, write_through=True)
            try:
                yield text
            finally:
                text.detach()  # the caller closes `file`

    def folder(self) -> Path:
        """The folder that --out named, made if need be."""
        assert self.path is not None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReportError(f"{self.path}: {error.strerror}; --out names a folder for this format") from error
        return self.path


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` when it is complete, and leaves nothing behind when it is not."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; name a place that can be written with --out") from error
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        new.chmod(0o666 & ~mask)
        new.replace(path)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; is the disk full, or a folder of that name there?") from error
    finally:
        new.unlink(missing_ok=True)
