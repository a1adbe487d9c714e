"""Output files: written whole or not at all, and never in the place of what somebody would miss.

A database, an image and whatever the command itself reads are never replaced. Any other file is replaced when it is
empty, when it begins as the same output does, so that a command can be repeated, or when `--force` says so.
"""

import os
import stat as stat_module
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge.host.sync import sync

IsOwn = Callable[[BinaryIO], bool]
"""Whether a file that is there, from its beginning, is an output of the kind that is to be written."""
LONGEST_LINE = 1 << 20
_COMPANIONS = ("-wal", "-shm", "-journal", ".lock")
_DATABASES = (b"SQLite format 3\0", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")


class OutputError(Exception):
    """A file that cannot or must not be written, in one line."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What a command must not replace."""

    inputs: tuple[Path, ...] = ()
    """The files that it reads; the companions of databases among them are meant as well."""
    force: bool = False
    """Whether any other file may be replaced."""

    def check(self, path: Path, is_own: IsOwn) -> Path:
        """The file that will be written, behind all links. Raises `OutputError`."""
        target = Path(os.path.realpath(path))
        try:
            status = os.stat(target)
        except FileNotFoundError:
            status = None
        except (OSError, ValueError) as error:
            raise OutputError(f"{path}: {getattr(error, 'strerror', None) or error}; choose another --out") from error
        if status is not None and stat_module.S_ISDIR(status.st_mode):
            raise OutputError(f"{path} is a folder; expected the name of a file to write")
        if status is not None and not stat_module.S_ISREG(status.st_mode):
            raise OutputError(f"{path} is no regular file; expected the name of a file to write")
        self._refuse_inputs(path, target, status)
        if status is not None and status.st_size:
            self._refuse_others(path, target, is_own)
        return target

    @contextmanager
    def replacing(self, path: Path, is_own: IsOwn) -> Iterator[BinaryIO]:
        """A new file that takes the name `path` when it is complete, and leaves nothing behind when it is not."""
        target = self.check(path, is_own)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{target.name[:50]}.", dir=target.parent)
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}; name a place that can be written with --out") from error
        new = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.chmod(_mode(target))
            new.replace(self.check(path, is_own))  # another file may have come while this one was written
            sync(target.parent)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{path} was not written: {why}; free some space or choose another --out") from error
        finally:
            new.unlink(missing_ok=True)

    def _refuse_inputs(self, path: Path, target: Path, status: os.stat_result | None) -> None:
        for given in self.inputs:
            for one in (given, *(given.with_name(given.name + companion) for companion in _COMPANIONS)):
                with suppress(OSError, ValueError):
                    is_same = status is not None and os.path.samestat(status, os.stat(one))
                    if is_same or target == Path(os.path.realpath(one)):
                        raise OutputError(f"{path} belongs to {given}, which this command reads; choose another name")
        for companion in _COMPANIONS:
            database = target.with_name(target.name.removesuffix(companion))
            if database != target and _head(database).startswith(_DATABASES):
                raise OutputError(f"{path} belongs to the database {database.name} beside it; choose another name")

    def _refuse_others(self, path: Path, target: Path, is_own: IsOwn) -> None:
        """Refuse what is no former output."""
        head = _head(target)
        if head.startswith(_DATABASES):
            raise OutputError(f"{path} is a database, and no database is ever replaced; choose another name")
        try:
            with target.open("rb") as file:
                if is_own(file):
                    return
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}; choose another name") from error
        if head.startswith(_IMAGES) or (head[:4], head[8:12]) == (b"RIFF", b"WEBP") or _is_bmp(head):
            raise OutputError(f"{path} is an image, and no image is ever replaced; choose another name")
        if not self.force:
            raise OutputError(f"{path} is there and holds something else; choose another name, or --force replaces it")


def begins_with(*columns: str) -> IsOwn:
    """A CSV file with these columns; later versions may have added some at the end."""
    header = ",".join(columns).encode()

    def is_own(file: BinaryIO) -> bool:
        line = file.readline(LONGEST_LINE).rstrip(b"\r\n")
        return line == header or line.startswith(header + b",")

    return is_own


def unlike_any(_: BinaryIO) -> bool:
    """No file that is there."""
    return False


def _head(path: Path) -> bytes:
    """The first bytes of a regular file; none of what cannot be read."""
    try:
        if not stat_module.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb") as file:
            return file.read(16)
    except (OSError, ValueError):
        return b""


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and head[6:10] == bytes(4)


def _mode(target: Path) -> int:
    """The rights that a former output had; for a new one those that the umask leaves."""
    with suppress(FileNotFoundError):
        return stat_module.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
