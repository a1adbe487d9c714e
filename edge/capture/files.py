"""Finding, checking and reading the regular files of a folder; links, pipes and devices are left alone."""

import os
import stat as stat_module
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG
from itertools import islice

from edge.image.decode import IMAGE_SUFFIXES

_LARGEST_INTEGER = 2**63 - 1
LONGEST_PATH_BYTES = 4096  # PATH_MAX of Linux, with the zero byte at its end
STEP = 256  # files that the database is asked about at once
CHUNK = 20_000  # names held at once: a folder of a million files needs no more memory than one of 20,000
_TEMPORARY_SUFFIXES = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp", "_exiftool_tmp")
_BACKUP_SUFFIXES = ("_original", "~", ".bak", ".orig")
_PREVIEW_SUFFIXES = (".thm",)  # the small image that a camera writes beside a film
_PASSED_OVER_FOLDERS = frozenset(
    {
        *("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "__macosx"),
    }
)
"""Folders of systems and network drives, which hold what was deleted, thumbnails and snapshots."""
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
"""To enter a folder takes no right to list it."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as `lstat` described it at one moment."""

    path: str
    """Absolute path; bytes that are not UTF-8 are surrogates (`os.fsencode` restores them)."""
    bytes: int
    mtime_ns: int
    ctime_ns: int = field(default=0, compare=False)
    """Time of the last change of content, permissions or name: it does not tell whether the content is the same."""


def is_passed_over(name: str) -> bool:
    """Whether no frame has this name: hidden, used only while a program writes, a backup, or a film's preview."""
    return name.startswith(".") or name.lower().endswith((*_TEMPORARY_SUFFIXES, *_BACKUP_SUFFIXES, *_PREVIEW_SUFFIXES))


def is_passed_over_folder(name: str) -> bool:
    """Whether a folder of this name is left out: hidden, of a system or a network drive, or a recycle bin."""
    return name.startswith(".") or name.lower() in _PASSED_OVER_FOLDERS


def is_left_out(path: str, root: str) -> bool:
    """Whether a scan of the folder `root` would leave out the file at `path`, which is below it."""
    folder, name = os.path.split(os.path.relpath(path, root))
    return is_passed_over(name) or is_in_left_out_folder(folder)


def is_in_left_out_folder(relative: str) -> bool:
    """Whether a scan would not enter this folder, whose path is relative to the folder that is scanned."""
    return any(is_passed_over_folder(part) for part in relative.split(os.sep) if part not in ("", os.curdir))


def file_state(path: str) -> FileState | None:
    """State of the file at `path`; `None` when it is gone, a link or no regular file."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat_module.S_ISREG(status.st_mode):
        return None
    return FileState(path, status.st_size, _storable(status.st_mtime_ns), _storable(status.st_ctime_ns))


def _storable(time_ns: int) -> int:
    """A file system's time as SQLite's integers can hold it: file systems know later years than 2262."""
    return max(-_LARGEST_INTEGER - 1, min(time_ns, _LARGEST_INTEGER))


def read_bytes(path: str, limit: int) -> bytes:
    """Read at most `limit` bytes of a regular file. Raises `OSError`; never waits for the other end of a pipe."""
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        parts: list[bytes] = []
        # One byte more shows whether the file has grown; a buffer of `limit` bytes would be allocated for each file.
        while limit > 0 and (part := file.read(min(limit, size + 1))):
            parts.append(part)
            limit -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def open_regular(path: str, folder: int | None = None) -> int:
    """A handle for reading a regular file, in the folder of that handle if there is one. Raises `OSError`.

    No link is followed, nothing is waited for, and no device is opened: to open some is to set them off.
    """
    kind = stat_module.S_IFMT(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode)
    if kind in (stat_module.S_IFREG, stat_module.S_IFLNK):  # that it is a link is what `open` says
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
        if stat_module.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    raise OSError(EINVAL, "it is no regular file any more", path)


def open_folder(path: str) -> int:
    """A handle of a folder to which no link leads, at no place of its path. Raises `OSError` (ELOOP for a link)."""
    handle = os.open("/", _FOLDER)
    for part in path.split("/"):
        if part in ("", os.curdir):
            continue
        outer = handle
        try:
            if part == os.pardir or stat_module.S_ISLNK(os.stat(part, dir_fd=outer, follow_symlinks=False).st_mode):
                raise OSError(ELOOP, "a link leads to it now", path)
            handle = os.open(part, _FOLDER, dir_fd=outer)
        finally:
            os.close(outer)
    return handle


def files_below(
    root: str, on_error: Callable[[OSError], None] | None = None, on_folder: Callable[[str], None] | None = None
) -> Iterator[FileState]:
    """Every regular file at or below `root`; links are not followed, and what holds no frames is left out.

    Folder by folder in name order (in an enormous folder, in order within each `CHUNK` names). `on_folder` gets every
    folder that is entered, `on_error` everything that could not be read.
    """
    # A list in place of recursion: folders can be nested deeper than Python calls.
    levels = [_entries(root, on_error, on_folder)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if on_error and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    on_error(IsADirectoryError(EISDIR, "it is a folder, expected an image", entry.path))
                if not is_passed_over_folder(entry.name):
                    levels.append(_entries(entry.path, on_error, on_folder))
            elif not is_passed_over(entry.name):
                if (found := file_state(entry.path)) is not None:
                    yield found
                elif on_error and len(os.fsencode(entry.path)) >= LONGEST_PATH_BYTES:
                    on_error(OSError(ENAMETOOLONG, "its path is longer than can be opened", entry.path))
        except OSError as error:
            if on_error:
                on_error(error)


def _entries(
    folder: str, on_error: Callable[[OSError], None] | None, on_folder: Callable[[str], None] | None
) -> Iterator["os.DirEntry[str]"]:
    try:
        with closing(os.scandir(folder)) as entries:
            if on_folder:
                on_folder(folder)
            while chunk := sorted(islice(entries, CHUNK), key=lambda entry: entry.name):
                if len(chunk) < CHUNK:
                    entries.close()  # folders can be nested deeper than files can be open at once
                yield from chunk
                if len(chunk) < CHUNK:
                    break
    except OSError as error:
        if on_error:
            on_error(error)
