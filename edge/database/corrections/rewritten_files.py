"""Files whose metadata was rewritten after they were logged: the frame keeps its row, its labels and its events.

A program that sets a clock, a keyword or a copyright right writes the file anew: other bytes, the same image.
"""

import os
import sqlite3
from dataclasses import dataclass

from edge.capture.capture_time import CaptureTime
from edge.database.corrections.audit import SOFTWARE, Change, write_changes
from edge.database.corrections.capture_times import set_capture_time
from edge.database.frame_result import ClassifiedFrame
from edge.database.known_files import path_value
from edge.timestamps import iso_utc
from edge.vocabulary import ClockDoubt

BY = SOFTWARE
FIELD = "digest"
_NOTE = "metadata was rewritten in the file"
_SAME_IMAGE = """
SELECT m.id, m.path, m.deployment, d.folder FROM media m LEFT JOIN deployment d ON d.id = m.deployment
WHERE m.image_digest = ? AND m.status = 'classified' LIMIT 2
"""
_PATHS = "SELECT path FROM file WHERE media = ?"
_NOW = "SELECT digest, captured_at, captured_at_raw, time_zone FROM media WHERE id = ?"
_REWRITTEN = "UPDATE media SET path = ?, digest = ?, bytes = ?, image_doubt = ?, pictures = ? WHERE id = ?"
_NO_BETTER = {ClockDoubt.NO_EXIF, ClockDoubt.UNREADABLE_TIME, ClockDoubt.EDITED}
"""A time with one of these doubts corrects none: the metadata that told the time was taken out."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of a frame whose file was rewritten."""

    media: int
    old_time: str | None
    new_time: str | None
    """As `old_time` where the rewritten metadata tell no other time."""


def row_of_same_image(connection: sqlite3.Connection, frame: ClassifiedFrame) -> int | None:
    """The one row whose frame this is, with metadata rewritten; `None` when it is a frame of its own.

    It is the same frame where its file is at a path of that row, or has the name and camera of one that is gone. Where
    several rows have its image, or the image has no detail (a covered lens), nothing tells which frame it is.
    """
    if not frame.image_digest or not frame.has_detail:
        return None
    rows = connection.execute(_SAME_IMAGE, (frame.image_digest,)).fetchall()
    if len(rows) != 1:
        return None
    media, last_path, deployment, folder = rows[0]
    paths = {last_path, *(path for (path,) in connection.execute(_PATHS, (media,)))}
    if path_value(frame.file.path) in paths:
        return int(media)
    for path in map(os.fsdecode, paths):
        if _has_name_and_camera(frame, path, deployment) and _is_gone(path, folder):
            return int(media)
    return None


def note_rewritten(connection: sqlite3.Connection, media: int, frame: ClassifiedFrame) -> Rewritten:
    """The row `media` is at the file's new bytes from now on, with the time that the file tells now."""
    captured = frame.conclusion.captured
    digest, old_time, raw, zone = connection.execute(_NOW, (media,)).fetchone()
    several = frame.pictures if frame.pictures > 1 else None
    connection.execute(
        _REWRITTEN, (path_value(frame.file.path), frame.digest, frame.file.bytes, frame.image_doubt, several, media)
    )
    write_changes(connection, [Change(media, FIELD, digest, frame.digest)], BY, _NOTE)
    if not _tells_another_time(captured, raw, zone):
        return Rewritten(media, old_time, old_time)
    set_capture_time(connection, media, captured, BY, "the time was corrected in the file")
    return Rewritten(media, old_time, iso_utc(captured.at))


def _has_name_and_camera(frame: ClassifiedFrame, path: str, deployment: str | None) -> bool:
    if os.path.basename(path).casefold() != os.path.basename(frame.file.path).casefold():
        return False
    if deployment is None and frame.deployment is None:
        return os.path.dirname(path) == os.path.dirname(frame.file.path)
    return deployment == frame.deployment


def _is_gone(path: str, folder: str | None) -> bool:
    """Whether there is no file at `path`, though its folder, or the `folder` of its deployment, is there.

    Of a folder that is not mounted no file is gone.
    """
    if os.path.lexists(path):
        return False
    return os.path.isdir(os.path.dirname(path)) or (folder is not None and os.path.isdir(folder))


def _tells_another_time(captured: CaptureTime, raw: str | None, zone: str | None) -> bool:
    """Whether the time was corrected in the file: an offset that was added to the same time corrects it too."""
    if not captured.raw or _NO_BETTER & set(captured.doubts):
        return False
    return captured.raw != raw or (captured.zone[:1] in "+-" and captured.zone != zone)
