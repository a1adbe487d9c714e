"""The files of logged frames: the one way by which reports, imports, `prune` and all others get at a frame again.

The path of a frame says where it lay once. Since then another file can have taken its name, or a link, a pipe or
another folder can stand in its place. So a file counts as the frame only when no link leads to it, it is a regular
file, and its bytes are those that were logged; and a frame with people is given only to those who ask for it.

Paths are absolute, as last seen, and none of their folders was a link below the folder that was classified or watched:
links are not followed there. That folder itself may well lie behind one (`/captures` -> `/mnt/card`). Therefore each
run notes where its folders really were (`roots` in its settings), and files are opened by way of that place, from the
root of the file system on, where no part is a link. A link that leads elsewhere afterwards changes nothing for the
frames that were logged before: they are where they were, or they are away.
"""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ELOOP
from itertools import count
from pathlib import Path
from stat import S_ISREG

from edge.capture.files import open_folder, open_regular
from edge.database.effective_observation import shows_people
from edge.image.decode import digest
from edge.image.memory_limit import MAX_BYTES
from edge.vocabulary import MediaStatus

_FRAME = f"""
SELECT m.digest, m.status, m.path, {shows_people("m.id")} FROM media m WHERE m.id = ?
"""
_OTHER_PATHS = "SELECT path FROM file WHERE media = ? ORDER BY seen_at DESC"
_NEWEST = "SELECT id FROM media WHERE status = 'classified' ORDER BY id DESC LIMIT ?"
_ROOTS = """
SELECT json_extract(settings, '$.roots') FROM run
WHERE iif(json_valid(settings), json_type(settings, '$.roots'), NULL) = 'object' ORDER BY id
"""


class FrameAway(Exception):
    """A frame that cannot be had: the reason in a short phrase."""


@dataclass(frozen=True, slots=True)
class FrameContent:
    """A logged frame, as it lies on the disk now."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file that is held open together with its folder."""

    path: str
    folder: int
    name: str
    handle: int
    status: os.stat_result

    def content(self, wanted: str) -> bytes | None:
        """The bytes of the file, if they have this digest."""
        if self.status.st_size > MAX_BYTES:
            return None
        with os.fdopen(os.dup(self.handle), "rb") as file:
            file.seek(0)
            data = file.read(self.status.st_size + 1)
        return data if digest(data) == wanted else None

    def remove(self, wanted: str) -> bool:
        """Delete the file; `False` where it has other content by now, or its name or its folder's is another's.

        It first gets a hidden name that nobody else knows, so that what is looked at last is what is deleted.
        """
        aside = f".{self.name[:100]}.pruned-{secrets.token_hex(6)}"
        os.rename(self.name, aside, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        try:
            is_same = self._is_at(aside) and self._is_in_its_folder() and self.content(wanted) is not None
        except OSError:
            is_same = False
        if not is_same:
            self._give_back(aside)
            return False
        try:
            os.unlink(aside, dir_fd=self.folder)
        except OSError:
            self._give_back(aside)
            raise
        return True

    def _is_at(self, name: str) -> bool:
        """Whether the name is this very file, and its only one."""
        found = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        return os.path.samestat(found, self.status) and found.st_nlink == 1

    def _is_in_its_folder(self) -> bool:
        place = open_folder(os.path.dirname(self.path))
        try:
            return os.path.samestat(os.fstat(place), os.fstat(self.folder))
        finally:
            os.close(place)

    def _give_back(self, aside: str) -> None:
        """Give a file its name again, or the first free one like it where that was taken meanwhile."""
        stem, suffix = os.path.splitext(self.name)
        for number in count():
            name = f"{stem}_{number}{suffix}" if number else self.name
            try:
                os.link(aside, name, src_dir_fd=self.folder, dst_dir_fd=self.folder, follow_symlinks=False)
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                with suppress(FileNotFoundError):
                    os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                    continue
                os.rename(aside, name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
                return
            os.unlink(aside, dir_fd=self.folder)
            return


def real_roots(folders: Iterable[Path]) -> dict[str, str]:
    """Where folders really are, by the paths that they are named by; for the settings of a run."""
    return {str(folder): os.path.realpath(folder) for folder in folders if not os.path.isfile(folder)}


class FrameFiles:
    """Opens the files of the frames of one database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._folder = ""
        """The folder of which was seen last that no link leads to it."""
        self._roots: dict[str, str] = {}
        for (text,) in connection.execute(_ROOTS):
            self._roots |= {root: real for root, real in json.loads(text).items() if isinstance(real, str)}

    def read(self, media: int, people: bool = False) -> FrameContent:
        """A classified frame from the first place that still has it. Raises `FrameAway`.

        One with people only where they are asked for.
        """
        row = self._connection.execute(_FRAME, (media,)).fetchone()
        if row is None or row[1] != MediaStatus.CLASSIFIED:
            raise FrameAway("it was never classified")
        content, _, path, has_people = row
        if has_people and not people:
            raise FrameAway("not shown: people in the frame")
        paths = dict.fromkeys((path, *(other for (other,) in self._connection.execute(_OTHER_PATHS, (media,)))))
        return self.first_with(content, [os.fsdecode(one) for one in paths if isinstance(one, str | bytes)])

    def newest(self, count: int) -> Iterator[FrameContent]:
        """Those of the frames that were classified last whose files are still there."""
        for (media,) in self._connection.execute(_NEWEST, (count,)).fetchall():
            with suppress(FrameAway):
                yield self.read(media, people=True)

    def first_with(self, content: str, paths: Iterable[str]) -> FrameContent:
        """The first of some files that has this digest. Raises `FrameAway`."""
        why = "the frame is no longer where it was"
        for path in paths:
            try:
                with self.opened(path) as file:
                    if (data := file.content(content)) is not None:
                        return FrameContent(path, data)
                why = "another file has its name now"
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) == ELOOP:
                    why = "a link leads to where it was"
        raise FrameAway(why)

    def seen(self, path: str, size: int, mtime_ns: int) -> os.stat_result | None:
        """The state of a regular file of this size and time to which no link leads; `None` where there is none."""
        try:
            path = self.real_path(path)
            if (folder := os.path.dirname(path)) != self._folder:  # a long list of files goes folder by folder
                os.close(open_folder(folder))
                self._folder = folder
            status = os.lstat(path)
        except (OSError, ValueError):
            return None
        is_as_logged = S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (size, mtime_ns)
        return status if is_as_logged else None

    def has_folder(self, path: str) -> bool:
        """Whether the folder of a file is there, and no link leads to it."""
        try:
            os.close(open_folder(os.path.dirname(self.real_path(path))))
        except (OSError, ValueError):
            return False
        return True

    @contextmanager
    def opened(self, path: str) -> Iterator[OpenFile]:
        """A file, held open. Raises `OSError` where none is, or a link leads to it."""
        path = self.real_path(path)
        folder, name = os.path.split(path)
        folder_handle = open_folder(folder)
        try:
            handle = open_regular(name, folder_handle)
            try:
                yield OpenFile(path, folder_handle, name, handle, os.fstat(handle))
            finally:
                os.close(handle)
        finally:
            os.close(folder_handle)

    def real_path(self, path: str) -> str:
        """Where a path leads by the links that the last run with its folder knew. Raises `OSError` for no path."""
        if not path.startswith("/"):
            raise FileNotFoundError(path)
        folder = os.path.dirname(path)
        while folder != "/":
            if folder in self._roots:
                return self._roots[folder].rstrip("/") + path[len(folder) :]
            folder = os.path.dirname(folder)
        return path
