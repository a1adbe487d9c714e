"""Whether the database can be written now: the file is still in its place, and its disk has room."""

from pathlib import Path
from shutil import disk_usage

_CLOSED = (0, 0)


class DatabaseWaits(RuntimeError):
    """The database cannot be written now (full, read-only, locked): one line that says why."""


class DatabaseOpenedAnew(DatabaseWaits):
    """An error made it necessary; what was to be written can be tried again at once."""


class DiskGuard:
    """Watches over the file at `path` and the room on its disk."""

    def __init__(self, path: Path, min_free_bytes: int) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._identity: tuple[int, int] | None = None

    def opened(self) -> None:
        """The file that is at the path now is the one in use."""
        self._identity = self._found()

    def closed(self) -> None:
        """No file is in use, so that whatever is at the path counts as replaced."""
        self._identity = _CLOSED

    @property
    def is_closed(self) -> bool:
        return self._identity == _CLOSED

    def was_replaced(self) -> bool:
        """Whether the file in use was removed, or another one took its place."""
        return self._found() != self._identity

    def free_bytes(self) -> int:
        """Free bytes of the file system that holds the database."""
        return disk_usage(self._path.parent).free

    def demand_room(self) -> None:
        """Raise `DatabaseWaits` when less than the configured minimum is free."""
        if (free := self.free_bytes()) < self._min_free_bytes:
            raise DatabaseWaits(
                f"{self._path}: {free:,} bytes are free on its disk, min_free_bytes is {self._min_free_bytes:,}"
            )

    def _found(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino) if status.st_size else None  # emptied in its place, it is gone
