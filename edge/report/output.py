"""Where a report goes: never half a file in place of a whole one."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from edge.report.database import ReportError


@dataclass(frozen=True, slots=True)
class Output:
    """The place that --out named, or standard output."""

    path: Path | None
    format_name: str
    say: Callable[[str], None] = lambda line: None

    def warn(self, line: str) -> None:
        """One line for the person who asked, whatever goes to standard output."""
        self.say("")
        print(f"edge-report: {line}", file=sys.stderr)

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """UTF-8 text with the line ends as written; replaces the file when all of it is there."""
        if self.path is None:
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(encoding="utf-8", newline="", errors="backslashreplace")
            yield sys.stdout
            sys.stdout.flush()
            return
        with replacing(self.path) as file, os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", newline="",
                                                     errors="backslashreplace") as text:  # fmt: skip
            yield text

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
