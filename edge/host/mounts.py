"""The table of mounted file systems: which one holds a folder, and whether the table has changed."""

import os
import select
from dataclasses import dataclass
from typing import BinaryIO

_TABLE = "/proc/self/mountinfo"
# Other computers write to these without this kernel's knowledge, so it can send no events.
_SILENT_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "vboxsf", "vmhgfs", "virtiofs"})


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table."""

    point: str
    file_system: str
    device: str


def is_silent(file_system: str) -> bool:
    """Whether files can appear on this type of file system without an inotify event (network, FUSE)."""
    return file_system in _SILENT_TYPES or file_system.startswith("fuse")


def read_mounts() -> tuple[Mount, ...]:
    """Read the table: later mounts come after the ones that they cover; empty where the system has no table."""
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as table:
            lines = [line.split(" ") for line in table]
    except OSError:
        return ()
    # "36 35 98:0 /root /mount/point options ... - type source options", spaces in names as \040
    return tuple(Mount(_unescaped(line[4]), line[line.index("-") + 1], line[2]) for line in lines if "-" in line)


def mounts_of(folder: str, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """The mount that holds `folder` (the topmost one there), and those below the folder."""
    folder = os.path.realpath(folder)
    holding = [mount for mount in mounts if _is_at_or_below(folder, mount.point)]
    longest = max((len(mount.point) for mount in holding), default=0)
    own = [mount for mount in holding if len(mount.point) == longest][-1:]
    return (*own, *(mount for mount in mounts if mount.point != folder and _is_at_or_below(mount.point, folder)))


class MountChanges:
    """Tells with one system call whether the table of mounts has changed since the last call."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._table: BinaryIO | None = None
        try:
            self._table = open(_TABLE, "rb")  # noqa: SIM115 - held open: the kernel reports changes on it
        except OSError:
            return
        self._poll.register(self._table, select.POLLPRI | select.POLLERR)

    def close(self) -> None:
        if self._table is not None:
            self._poll.unregister(self._table)
            self._table.close()

    def any(self) -> bool:
        return bool(self._poll.poll(0))


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")


def _unescaped(name: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        name = name.replace(code, character)
    return name
