"""What the database knows of files and their content: which need no classification, and which are tried again."""

import logging
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from edge.capture.files import FileState
from edge.settings.options import Settings
from edge.vocabulary import FileReason, MediaStatus

log = logging.getLogger(__name__)

KNOWN = """
SELECT f.path, f.bytes, f.mtime_ns, m.status, m.id, f.ctime_ns, m.digest, m.reason
FROM file f JOIN media m ON m.id = f.media WHERE f.path IN ({})
"""
CLASSIFIED = """
SELECT id, digest, path FROM media WHERE digest = ?1 AND status = 'classified'
UNION ALL SELECT m.id, m.digest, m.path FROM correction c JOIN media m ON m.id = c.media
WHERE c.field = 'digest' AND c.old = ?1
LIMIT 1
"""  # the row of content that has this digest now, or had it before its file was rewritten
OTHER_WITH_IMAGE = """
SELECT 1 FROM media WHERE image_digest = ? AND image_digest <> '' AND digest <> ? AND status = 'classified'
"""
ANSWERED = """
SELECT 1 FROM observation WHERE media = ? AND model = ? AND configuration = ? AND method = 'machine'
"""
CRASHED = "SELECT 1 FROM media WHERE digest = ? AND status <> 'classified' AND reason = 'crashed_decoder'"
LOGGED_AT = """
SELECT m.bytes, m.digest FROM file f JOIN media m ON m.id = f.media WHERE f.path = ? AND m.status = 'classified'
"""
OTHER_PATH = """
SELECT path FROM file WHERE media = (SELECT media FROM file WHERE path = ?1) AND path <> ?1 ORDER BY seen_at LIMIT 1
"""
OWN_SUFFIXES = re.compile(r"|-wal|-shm|-journal|\.lock|\.(damaged-|salvag).*", re.DOTALL)


class Asked:
    """One connection that any thread may ask, one at a time; closing it waits for the question that is being answered.

    SQLite ends the process when a connection is closed under a running statement.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = Lock()

    def rows(self, sql: str, values: Sequence[Any]) -> list[Any] | None:
        """All rows; `None` when the disk fails, or when the connection was closed meanwhile."""
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            log.debug("database: %s: %s", self._path, error)
            return None

    def row(self, sql: str, *values: Any) -> Any:
        """The first row or `None`; also `None` when the disk fails."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class KnownFiles:
    """Answers from one connection; where the disk fails, a file counts as unknown and is only read once more."""

    def __init__(self, asked: Asked, path: Path, settings: Settings, model: int, configuration: int) -> None:
        self._asked = asked
        self._path = path
        self._settings = settings
        self._answering = (model, configuration)

    def unknown(self, files: Sequence[FileState]) -> list[FileState]:
        """Those of some files that have to be processed; a few hundred at once cost little more than one."""
        files = [file for file in files if not self.is_own(file.path)]
        paths = [path_value(file.path) for file in files]
        rows = self._asked.rows(KNOWN.format(",".join("?" * len(paths))), paths)
        if rows is None:
            return list(files)
        known = {row[0]: row[1:] for row in rows}
        return [file for file, path in zip(files, paths, strict=True) if not self._is_settled(file, known.get(path))]

    def is_logged(self, digest: str) -> bool:
        """Whether this content needs no classification."""
        row = self._asked.row(CLASSIFIED, digest)
        return row is not None and (not self._settings.reclassify or self.has_answer(row[0]))

    def has_image(self, image_digest: str, digest: str) -> bool:
        """Whether a frame of other content has the same image."""
        return self._asked.row(OTHER_WITH_IMAGE, image_digest, digest) is not None

    def has_answer(self, media: int) -> bool:
        """Whether the model in use has classified this frame under these settings."""
        return self._asked.row(ANSWERED, media, *self._answering) is not None

    def logged_at(self, path: str) -> tuple[int, str] | None:
        """Size in bytes and digest of the frame that was logged at this path last."""
        row = self._asked.row(LOGGED_AT, path_value(path))
        return None if row is None else (row[0], row[1])

    def other_path(self, file: FileState) -> str | None:
        """Another path at which the content of a logged file was seen first."""
        row = self._asked.row(OTHER_PATH, path_value(file.path))
        return None if row is None else os.fsdecode(row[0])

    def has_crashed(self, digest: str) -> bool:
        """Whether this content has ended the process or the decoder before."""
        return self._asked.row(CRASHED, digest) is not None

    def is_own(self, path: str) -> bool:
        """Whether it is one of the database's files, in the folder that is watched.

        Nobody else in this process may open and close them: that would give up the locks that SQLite holds on them.
        """
        folder, name = os.path.split(path)
        if not name.startswith(self._path.name) or not OWN_SUFFIXES.fullmatch(name[len(self._path.name) :]):
            return False
        return os.path.realpath(folder) == str(self._path.parent)

    def _is_settled(self, file: FileState, row: tuple[Any, ...] | None) -> bool:
        """Whether the file is as it was logged, and would give nothing new."""
        if row is None:
            return False
        size, mtime_ns, status, media, ctime_ns, digest, reason = row
        if (size, mtime_ns) != (file.bytes, file.mtime_ns) or status == MediaStatus.PENDING:
            return False
        if status == MediaStatus.CLASSIFIED:
            return not self._settings.reclassify or self.has_answer(media)
        if status == MediaStatus.UNREADABLE and self._settings.watch is None:
            return False  # whoever asks about this file gets an answer about this file
        if status == MediaStatus.UNREADABLE and digest is None and reason == FileReason.CORRUPT:
            return False  # a card that failed to give its bytes may give them next time
        return ctime_ns in (None, file.ctime_ns)


def path_value(path: str) -> str | bytes:
    """A path as the database stores it: TEXT when the name is UTF-8, else the raw bytes."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
