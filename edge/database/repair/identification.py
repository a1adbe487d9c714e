"""Whether a file is a database of ours, found out without changing a byte of it.

SQLite itself may write to a file that it only opens: it moves a write-ahead log into the database and removes it. So a
file is first read as bytes. It is ours when its tables say so; where these cannot be read, when the mark beside it
matches: its device, its inode, and a random id that is in the database too, with a short one that its header holds.
"""

import os
import sqlite3
import stat
from contextlib import closing, suppress
from enum import Enum, auto
from pathlib import Path

from edge.database.repair.pages import MAGIC, Pages
from edge.database.repair.stored_schema import StoredSchema
from edge.database.schema import PRIVATE

_ID_LENGTH = 32


class Owner(Enum):
    """Whose file is at a path."""

    NOBODY = auto()
    """There is none, or an empty one."""
    OURS = auto()
    OTHERS = auto()


def owner_of(path: Path) -> Owner:
    """Whose the file at `path` is. Raises `OSError` where it cannot be read."""
    log = path.with_name(path.name + "-wal")
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        return Owner.OTHERS
    if (status is None or status.st_size == 0) and _size(log) == 0:
        return Owner.NOBODY
    with closing(Pages(path)) as pages:
        schema = StoredSchema.of(pages)
        if schema.is_ours or _is_marked(path, pages):
            return Owner.OURS
        is_new = schema.is_whole and not schema.entries and pages[1].startswith(MAGIC) and pages[1][60:64] == bytes(4)
        return Owner.NOBODY if is_new else Owner.OTHERS


def leave_mark(path: Path, connection: sqlite3.Connection) -> None:
    """Note beside the database which file it is; without the mark only its tables tell that it is ours."""
    (id_,) = connection.execute("SELECT id FROM identity").fetchone()
    (short,) = connection.execute("PRAGMA application_id").fetchone()
    status = path.stat()
    mark = f"{status.st_dev} {status.st_ino} {id_} {short:08x}\n".encode("ascii")
    with suppress(OSError):
        handle = os.open(_mark_beside(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        with os.fdopen(handle, "r+b") as file:
            if file.read(len(mark) + 1) != mark:
                file.seek(0)
                file.truncate()
                file.write(mark)


def _is_marked(path: Path, pages: Pages) -> bool:
    try:
        device, inode, id_, short = _mark_beside(path).read_bytes()[:200].split()
        status = path.stat()
    except (OSError, ValueError):
        return False
    if (device, inode) != (b"%d" % status.st_dev, b"%d" % status.st_ino) or len(id_) != _ID_LENGTH:
        return False
    header = pages[pages.first]
    if header.startswith(MAGIC) and header[68:72].hex().encode("ascii") == short != b"00000000":
        return True
    # So little may be left of a file that was cut that nobody else's can be in it.
    return next(pages.find(id_), None) is not None or (status.st_size < 100 and MAGIC.startswith(path.read_bytes()))


def _mark_beside(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
