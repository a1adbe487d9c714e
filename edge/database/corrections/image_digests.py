"""Image digests of frames that an earlier version logged, worked out a few at a time when nothing else waits.

Without one, a frame whose metadata are rewritten later counts a second time. It can be worked out as long as a file
holds the content that was logged.
"""

import logging
import os
import sqlite3
import time
from dataclasses import dataclass

from edge.database.frame_files import FrameAway, FrameFiles
from edge.image.decode import recognise
from edge.image.image_digest import NO_DIGEST, image_digest

log = logging.getLogger(__name__)

_PORTION = 8  # frames whose digests are written in one transaction
_WITHOUT = """
SELECT id, digest, path FROM media
WHERE image_digest IS NULL AND status = 'classified' AND id > ? ORDER BY id LIMIT ?
"""
_PATHS = "SELECT path FROM file WHERE media = ?"
SET = "UPDATE media SET image_digest = ? WHERE id = ? AND digest = ?"

Found = tuple[str, int, str]
"""Values of `SET`: image digest, media id, digest of the content that it was worked out from."""


@dataclass(slots=True)
class ImageDigests:
    """One pass over the frames without an image digest; the database keeps what was worked out."""

    connection: sqlite3.Connection
    is_done: bool = False
    _last: int = 0
    _found: int = 0
    _without: int = 0
    _away: int = 0

    def next(self, within_s: float) -> list[Found]:
        """The next few digests, read from the files; nothing is written here."""
        end = time.monotonic() + within_s
        found: list[Found] = []
        rows = self.connection.execute(_WITHOUT, (self._last, _PORTION)).fetchall()
        for media, content, path in rows:
            self._last = media
            paths = dict.fromkeys([path, *(other for (other,) in self.connection.execute(_PATHS, (media,)))])
            result = _image_digest(FrameFiles(self.connection), [os.fsdecode(one) for one in paths], content)
            if result is None:
                self._away += 1
            else:
                found.append((result, media, content))
            if time.monotonic() > end:
                return found
        self.is_done = len(rows) < _PORTION
        return found

    def written(self, found: list[Found]) -> None:
        """These are in the database now; says at the end of the pass what came of it."""
        self._found += sum(result != NO_DIGEST for result, *_ in found)
        self._without += sum(result == NO_DIGEST for result, *_ in found)
        if self.is_done and self._found + self._without:
            log.info(
                "image digests: %d earlier frames have theirs; %d can have none, for their file is gone, was changed or"
                " is of a format without; %d wait for their folder",
                *(self._found, self._without, self._away),
            )


def _image_digest(files: FrameFiles, paths: list[str], content: str) -> str | None:
    """The image digest by the first file that still holds the content; `None` while a folder is not there."""
    try:
        data = files.first_with(content, paths).data
        return image_digest(data, recognise(data))
    except FrameAway:
        return NO_DIGEST if all(files.has_folder(path) for path in paths) else None
    except Exception as error:  # one strange file must not stop the others
        log.debug("no image digest of %s: %s", ascii(paths[0]), error)
        return NO_DIGEST
