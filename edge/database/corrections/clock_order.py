"""What the order of a camera's files says of its clock: it ran backwards, was reset, or showed an hour twice."""

import re
import sqlite3
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge.capture.capture_time import CaptureTime, read_time
from edge.database.corrections.audit import SOFTWARE, Change, write_changes
from edge.timestamps import iso_utc
from edge.vocabulary import ClockDoubt

TOLERANCE = timedelta(seconds=60)  # frames of one burst are not always named in order
LEAP = timedelta(days=366)
"""No camera sleeps for longer between two frames of one series, unless its clock was reset."""
WRAP_FRAMES = 100
"""Fewer frames in a row were not deleted where the counter began again."""
_LAST = "\U0010ffff"
"""Comes after every other character of a path."""
_SERIES = 64  # folders that are filled at the same time
_NUMBERED = re.compile(r"(.*?)(\d{3,})(\.[^./]*)?", re.DOTALL)
_UNTRUSTED = frozenset(
    {
        *(ClockDoubt.NO_EXIF, ClockDoubt.UNREADABLE_TIME, ClockDoubt.EDITED, ClockDoubt.RESET),
        *(ClockDoubt.BEFORE_2005, ClockDoubt.FUTURE, ClockDoubt.BACKWARDS),
    }
)
_NOT_TRUSTED = " OR ".join(f"instr(m.clock_doubt, '{doubt}') > 0" for doubt in sorted(_UNTRUSTED))
_OF_SERIES = f"""
SELECT f.path, m.id, m.captured_at, m.captured_at_raw, m.clock_doubt FROM file f JOIN media m ON m.id = f.media
WHERE f.path >= ?1 AND f.path < ?2 AND length(f.path) = ?3 AND m.status = 'classified'
    AND m.captured_at_raw IS NOT NULL AND NOT coalesce({_NOT_TRUSTED}, 0)
"""
_BEFORE = f"{_OF_SERIES} ORDER BY f.path DESC LIMIT 1"
_AFTER = f"{_OF_SERIES} ORDER BY f.path LIMIT 1"
_FIRST_TAKEN = f"{_OF_SERIES} ORDER BY m.captured_at LIMIT 1"
_EARLIER = f"""
SELECT m.path, m.id, m.captured_at, m.captured_at_raw, m.clock_doubt FROM media m
WHERE m.deployment = ?1 AND m.captured_at < ?2 AND m.status = 'classified'
    AND m.captured_at_raw IS NOT NULL AND NOT coalesce({_NOT_TRUSTED}, 0)
ORDER BY m.captured_at
"""
_MARK = "UPDATE media SET clock_doubt = ? WHERE id = ?"


_Row = tuple[str, int, str, str, str | None]
"""Path, id, captured_at, captured_at_raw and clock_doubt of a frame whose time is trusted."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame whose time is trusted."""

    path: str
    media: int | None
    """`None` when it has just been logged."""
    at: datetime
    raw: str
    doubt: str


class ClockOrder:
    """Compares each frame with those of smaller numbers in its folder; the database is the memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._latest: OrderedDict[tuple[str, int], tuple[str, _Frame | None]] = OrderedDict()
        """(what the names share, their length) -> (last name, trusted frame of the largest number up to it)"""

    def judged(self, path: str | bytes, captured: CaptureTime, deployment: str | None = None) -> CaptureTime:
        """The capture time of a new frame with what its number says of it.

        Inside the transaction that logs the frame: doubts of earlier frames change where this one explains them.
        """
        if not isinstance(path, str) or _UNTRUSTED & set(captured.doubts):
            return captured
        match = _NUMBERED.fullmatch(path)
        if match is None or (shared := _shared_name(match[1], match[2], captured.raw)) is None:
            return captured
        series = (shared, len(path))
        last, before = self._latest.get(series, ("", None))
        in_order = last < path and last != ""
        if not in_order:
            before = self._ask(_BEFORE, shared, path, len(path))
        if before is not None:
            captured = self._after(captured, before, path, series)
        elif _is_reset_date(captured.raw):
            later = self._ask(_AFTER, path + "\0", shared + _LAST, len(path))
            if later is not None and later.at - captured.at > LEAP:
                captured = replace(captured, doubts=(*captured.doubts, ClockDoubt.RESET))
        elif deployment is not None:
            self._reset_before(captured, deployment)
        elif shared != match[1]:  # names with month and day: look at those of all days
            self._mark_reset(captured, self._rows(match[1], match[1] + _LAST, len(path)))
        if in_order or last == "":
            if not _UNTRUSTED & set(captured.doubts):
                before = _Frame(path, None, captured.at, captured.raw, ",".join(captured.doubts))
            self._latest[series] = (path, before)
            self._latest.move_to_end(series)
            if len(self._latest) > _SERIES:
                self._latest.popitem(last=False)
        return captured

    def _after(self, captured: CaptureTime, before: _Frame, path: str, series: tuple[str, int]) -> CaptureTime:
        """The capture time of a frame that has a larger number than `before`."""
        unproven = ClockDoubt.DST_REPEAT in before.doubt
        if captured.repeated and (before.at - captured.at > (TOLERANCE if unproven else timedelta())):
            second = captured.at + captured.repeated
            if before.at - second <= TOLERANCE:  # the clock was set back for winter between the two
                if unproven:
                    self._prove_first_hour(captured.at - captured.repeated, before, path, series)
                known = tuple(doubt for doubt in captured.doubts if doubt != ClockDoubt.DST_REPEAT)
                return replace(captured, at=second, doubts=known, repeated=timedelta())
        if before.at - captured.at > TOLERANCE and not self._began_again(captured, before, path, series):
            return replace(captured, doubts=(*captured.doubts, ClockDoubt.BACKWARDS))
        if captured.at - before.at > LEAP:
            self._mark_reset(captured, self._rows(series[0], path, series[1]))
        return captured

    def _began_again(self, captured: CaptureTime, before: _Frame, path: str, series: tuple[str, int]) -> bool:
        """Whether the counter wrapped, so that the smaller numbers were taken after this one."""
        if _number(path, series[0]) - _number(before.path, series[0]) <= WRAP_FRAMES:
            return False
        first = self._ask(_FIRST_TAKEN, series[0], path, series[1])
        return first is not None and timedelta() <= first.at - captured.at < LEAP

    def _reset_before(self, captured: CaptureTime, deployment: str) -> None:
        """The same over all series of a deployment: cameras begin a new folder, or name files after month and day."""
        earlier = (deployment, iso_utc(captured.at))
        newest = self._connection.execute(f"{_EARLIER} DESC LIMIT 1", earlier).fetchone()
        if newest is not None and captured.at - datetime.fromisoformat(newest[2]) > LEAP:
            self._mark_reset(captured, self._connection.execute(_EARLIER, earlier).fetchall())

    def _mark_reset(self, captured: CaptureTime, rows: list[_Row]) -> None:
        """Mark the first frames where they begin at a reset date and all lie more than a year before this one."""
        earlier = sorted((row for row in rows if row[2] < iso_utc(captured.at)), key=lambda row: row[2])
        if not earlier or earlier[-1][2] >= iso_utc(captured.at - LEAP) or not _is_reset_date(earlier[0][3]):
            return
        self._change(
            {media: (doubt, _with(doubt, ClockDoubt.RESET)) for _, media, _, _, doubt in earlier},
            "the clock leapt by more than a year after it",
        )

    def _prove_first_hour(self, begin: datetime, before: _Frame, path: str, series: tuple[str, int]) -> None:
        """The frames up to `before` were taken the first time that the clocks showed their hour."""
        rows = self._rows(series[0], path, series[1])
        self._change(
            {id_: (doubt, _without(doubt, ClockDoubt.DST_REPEAT)) for _, id_, at, _, doubt in rows
             if doubt and ClockDoubt.DST_REPEAT in doubt and iso_utc(begin) <= at <= iso_utc(before.at)},
            "the clock was set back after it",
        )  # fmt: skip

    def _change(self, doubts: dict[int, tuple[str | None, str | None]], note: str) -> None:
        self._connection.executemany(_MARK, [(new, media) for media, (_, new) in doubts.items()])
        changes = [Change(media, "clock_doubt", old, new) for media, (old, new) in doubts.items()]
        write_changes(self._connection, changes, SOFTWARE, note)
        self._latest.clear()  # it holds some of these frames with their former doubts

    def _rows(self, first: str, end: str, length: int) -> list[_Row]:
        return self._connection.execute(_OF_SERIES, (first, end, length)).fetchall()

    def _ask(self, sql: str, first: str, end: str, length: int) -> _Frame | None:
        row = self._connection.execute(sql, (first, end, length)).fetchone()
        if row is None:
            return None
        path, media, at, raw, doubt = row
        return _Frame(path, media, datetime.fromisoformat(at), raw, doubt or "")


def _shared_name(before: str, digits: str, raw: str) -> str | None:
    """What the names of a series share: the path up to the camera's counter.

    Month and day before the counter are part of it, for the counter says nothing over such days: the first of January
    would come before the last of December. `None` for a number that is the time itself.
    """
    read = read_time(raw)
    if read is None:
        return before
    stamp = f"{read.local:%Y%m%d%H%M%S}"
    if digits == stamp[8:]:
        return None
    for day in (stamp[:8], stamp[2:8], stamp[4:8], stamp[6:8] + stamp[4:6]):
        if digits.startswith(day) and len(digits) > len(day) + 1:
            return before + day
    return before


def _number(path: str, shared: str) -> int:
    return int(path[len(shared) :].partition(".")[0])


def _is_reset_date(raw: str) -> bool:
    """Whether a camera wrote one of the dates at which clocks begin: New Year, or midnight of the first of a month."""
    read = read_time(raw)
    if read is None or read.local.day != 1:
        return False
    return read.local.month == 1 or (read.local.hour == 0 and read.local.minute < 30)


def _with(doubt: str | None, more: ClockDoubt) -> str:
    return ",".join(filter(None, (doubt, more)))


def _without(doubt: str, less: ClockDoubt) -> str | None:
    return ",".join(word for word in doubt.split(",") if word != less) or None
