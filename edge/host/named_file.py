"""Files that a person or a configuration names: read only when they are regular and no larger than they may be."""

import os
import stat
from errno import EFBIG, EINVAL, EISDIR
from io import BufferedReader
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_named(path: Path, most_bytes: int) -> BufferedReader:
    """Open a file. Raises `OSError`, whose `strerror` says in words what is wrong.

    Links are followed, because they were named. Nothing waits for the other end of a pipe, and no device is opened.
    """
    check_regular(os.stat(path), path)  # opening some devices changes them
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb")
    try:
        status = os.fstat(file.fileno())
        check_regular(status, path)
        if status.st_size > most_bytes:
            raise _too_large(path, most_bytes)
    except OSError:
        file.close()
        raise
    return file


def read_named(path: Path, most_bytes: int) -> bytes:
    """The content of a file. Raises `OSError` as `open_named`."""
    with open_named(path, most_bytes) as file:
        size = os.fstat(file.fileno()).st_size
        parts: list[bytes] = []
        left = most_bytes + 1  # one byte more shows whether it is larger; a buffer of that size would be allocated
        while left > 0 and (part := file.read(min(left, size + 1))):
            parts.append(part)
            left -= len(part)
        if left == 0:
            raise _too_large(path, most_bytes)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(path: Path, most_bytes: int) -> OSError:
    return OSError(EFBIG, f"it is larger than {most_bytes:,} bytes", str(path))


def check_regular(status: os.stat_result, path: Path) -> None:
    """Raise `OSError` for what is no regular file."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise OSError(EISDIR if stat.S_ISDIR(status.st_mode) else EINVAL, f"it is {kind}, expected a file", str(path))
