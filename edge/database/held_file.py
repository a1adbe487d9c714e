"""The lock on the database's file itself, by which another process under another name is noticed."""

import fcntl
import os
import stat
from errno import EACCES, EAGAIN
from pathlib import Path

from edge.database.schema import SchemaError
from edge.host.mounts import is_silent, mounts_of, read_mounts


class HeldFile:
    """Holds the file at `path` for this process.

    The lock beside the database has the database's name. A hard link is another name, beside which SQLite would keep
    another log for the same file: two processes would destroy it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def hold(self) -> None:
        """Hold the file that is at the path now, if there is one. Raises `SchemaError` where another process does.

        Called before the database is opened and after: closing a handle gives up the locks that SQLite has on the file.
        """
        try:
            status = os.stat(self._path)
            if not stat.S_ISREG(status.st_mode):
                return
            if self._handle is not None and os.path.samestat(os.fstat(self._handle), status):
                return
            self.let_go()
            # On a network this lock would be one on the bytes that SQLite locks.
            if any(is_silent(mount.file_system) for mount in mounts_of(str(self._path.parent), read_mounts())[:1]):
                return
            self._handle = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # what is wrong with it is found when it is opened
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.let_go()
            if error.errno in (EAGAIN, EACCES):
                raise SchemaError(
                    f"{self._path} is in use by another edge-classify under another name (a hard link); "
                    "stop that one or choose another file with --db"
                ) from error

    def let_go(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
