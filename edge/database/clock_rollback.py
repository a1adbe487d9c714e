"""Detection of camera clocks that ran backwards, by the numbers in the names of their files."""

import re
import sqlite3
from collections import OrderedDict
from datetime import datetime, timedelta

from edge.capture.capture_time import CaptureTime
from edge.timestamps import iso_utc

TOLERANCE = timedelta(seconds=60)  # frames of one burst are not always named in order
_NUMBERED = re.compile(r"(.*?)(\d{3,})(\.[^./]*)?", re.DOTALL)
_UNTRUSTED = {"no_exif", "before_2005", "future", "backwards"}
_LATEST_BEFORE = """
SELECT max(m.captured_at) FROM file f JOIN media m ON m.id = f.media
WHERE f.path >= ? AND f.path < ? AND length(f.path) = ? AND m.status = 'classified'
    AND m.captured_at_raw IS NOT NULL AND coalesce(m.clock_doubt, '') NOT LIKE '%before%'
    AND coalesce(m.clock_doubt, '') NOT LIKE '%future%' AND coalesce(m.clock_doubt, '') NOT LIKE '%backwards%'
"""
_SERIES = 64  # folders that are filled at the same time


class ClockRollback:
    """Compares each frame with those of smaller numbers in its folder; the database is the memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._latest: OrderedDict[tuple[str, int], tuple[str, str]] = OrderedDict()
        """(what the names share, their length) -> (last name, latest trusted time up to it)"""

    def runs_backwards(self, path: str | bytes, at: str, captured: CaptureTime) -> bool:
        """Whether a frame of the same series with a smaller number was taken later than `at` (ISO 8601, UTC)."""
        match = _NUMBERED.fullmatch(path) if isinstance(path, str) else None
        if match is None or not isinstance(path, str) or _UNTRUSTED & set(captured.doubts):
            return False
        series = (match[1], len(path))
        last, latest = self._latest.get(series, ("", ""))
        in_order = last < path and last != ""
        if not in_order:
            row = self._connection.execute(_LATEST_BEFORE, (match[1], path, len(path))).fetchone()
            latest = row[0] or ""
        backwards = bool(latest) and at < iso_utc(datetime.fromisoformat(latest) - TOLERANCE)
        if in_order or last == "":
            self._latest[series] = (path, latest if backwards else max(latest, at))
            self._latest.move_to_end(series)
            if len(self._latest) > _SERIES:
                self._latest.popitem(last=False)
        return backwards
