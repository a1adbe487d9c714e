"""One frame's capture time set right, with a row in `correction` that keeps the one before."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from edge.capture.capture_time import CaptureTime
from edge.timestamps import iso_utc, now
from edge.vocabulary import ClockDoubt

FIELD = "captured_at"
_OLD = "SELECT captured_at FROM media WHERE id = ?"
_SET = """
UPDATE media SET captured_at = ?, captured_at_raw = ?, time_zone = ?, clock_doubt = ? WHERE id = ?
"""
_CORRECTION = """
INSERT INTO correction (media, field, old, new, at, "by", note) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class NewTime:
    """The columns of `media` that say when a frame was taken."""

    captured_at: str
    captured_at_raw: str | None
    time_zone: str | None
    clock_doubt: str | None

    @classmethod
    def of(cls, captured: CaptureTime, doubts: Iterable[ClockDoubt]) -> Self:
        """A time that was read in a file, with these doubts about it."""
        return cls(iso_utc(captured.at), captured.raw or None, captured.zone, ",".join(doubts) or None)


def correct_field(
    connection: sqlite3.Connection, media: int, field: str, old: str | None, new: str | None, by: str, note: str
) -> None:
    """Note in `correction` that a value of a frame was set right."""
    connection.execute(_CORRECTION, (media, field, old, new, iso_utc(now()), by, note))


def set_capture_time(connection: sqlite3.Connection, media: int, time: NewTime, by: str, note: str) -> str | None:
    """Set a frame's capture time; gives the one before. Call it inside the transaction that has to hold both."""
    (old,) = connection.execute(_OLD, (media,)).fetchone()
    connection.execute(_SET, (time.captured_at, time.captured_at_raw, time.time_zone, time.clock_doubt, media))
    correct_field(connection, media, FIELD, old, time.captured_at, by, note)
    return None if old is None else str(old)
