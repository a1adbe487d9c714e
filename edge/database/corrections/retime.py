"""Correction of a deployment's clock afterwards: every frame moves by the same time, and a row records it."""

import getpass
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge.capture.capture_time import EARLIEST_PLAUSIBLE, FUTURE_ALLOWANCE
from edge.database.events.table import update_events
from edge.timestamps import iso_utc, now, zone_named
from edge.vocabulary import ClockDoubt

_SHIFT = re.compile(r"([+-]?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_FRAMES = """
SELECT id, captured_at, clock_doubt, received_at FROM media
WHERE deployment = ? AND captured_at IS NOT NULL AND captured_at >= ? AND captured_at <= ?
    AND (captured_at_raw IS NOT NULL OR ?)
"""
_MOVE = "UPDATE media SET captured_at = ?, clock_doubt = ? WHERE id = ?"
_NOTE = 'INSERT INTO retime (deployment, shift_s, at, "by", note) VALUES (?, ?, ?, ?, ?)'
_FIRST, _LAST = "0000", "9999"
_ABOUT_THE_CLOCK = (ClockDoubt.BEFORE_2005, ClockDoubt.FUTURE, ClockDoubt.BACKWARDS)
"""Doubts that a correction settles, or that are decided anew."""


class RetimeError(ValueError):
    """A correction that cannot be meant, in one line."""


@dataclass(frozen=True, slots=True)
class Retimed:
    """What was corrected."""

    frames: int
    shift_s: float
    events: int


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of a deployment's clock, as people write it: exactly one of `shift` and `anchor` is given."""

    deployment: str
    shift: str | None = None
    """Such as `+1h` or `-2d3h`."""
    anchor: tuple[str, str] | None = None
    """A frame's file name or media id, and when it was really taken."""
    first: str | None = None
    """Only frames logged at or after this time (UTC)."""
    last: str | None = None
    """Only frames logged at or before this time (UTC)."""
    files_too: bool = False
    """Whether frames without EXIF, whose time is the file's, move too."""
    note: str | None = None


def retime_deployment(connection: sqlite3.Connection, correction: Correction) -> Retimed:
    """Move the frames of a deployment in one transaction. Raises `RetimeError`."""
    name = correction.deployment
    connection.execute("BEGIN IMMEDIATE")
    try:
        if correction.anchor is not None:
            shift = _anchored(connection, name, *correction.anchor)
        else:
            shift = parse_shift(correction.shift or "")
        span = (_bound(correction.first) or _FIRST, _bound(correction.last) or _LAST)
        frames = connection.execute(_FRAMES, (name, *span, correction.files_too)).fetchall()
        if not frames:
            raise RetimeError(f"deployment {name!r} has no frames with a camera's time there; see --deployment, --from")
        for media, at, doubt, received_at in frames:
            moved = datetime.fromisoformat(at) + shift
            connection.execute(_MOVE, (iso_utc(moved), _doubts(doubt, moved, received_at), media))
        note = "; ".join(filter(None, (correction.note, _range_in_words(correction))))
        connection.execute(_NOTE, (name, shift.total_seconds(), iso_utc(now()), getpass.getuser(), note or None))
        events = update_events(connection, [media for media, *_ in frames])
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    return Retimed(len(frames), shift.total_seconds(), events)


def parse_shift(text: str) -> timedelta:
    """`+1h`, `-2d3h`, `90s`. Raises `RetimeError`."""
    match = _SHIFT.fullmatch(text.replace(" ", ""))
    if match is None or not any(match.groups()[1:]):
        raise RetimeError(f"the shift is {text!r}; expected days, hours, minutes, seconds such as +1h or -2d3h30m")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups()[1:])
    shift = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    return -shift if match[1] == "-" else shift


def _anchored(connection: sqlite3.Connection, deployment: str, frame: str, time: str) -> timedelta:
    rows = connection.execute(
        "SELECT captured_at, time_zone FROM media WHERE deployment = ? AND captured_at IS NOT NULL "
        "AND (CAST(id AS TEXT) = ? OR path = ? OR path LIKE '%/' || ?)",
        (deployment, frame, frame, frame.replace("%", "")),
    ).fetchall()
    if len(rows) != 1:
        raise RetimeError(
            f"{len(rows)} frames of {deployment!r} are called {frame!r}; give one's media id or full path"
        )
    try:
        really = datetime.fromisoformat(time)
        if really.tzinfo is None and rows[0][1][:1] in "+-":  # the frames told their offset themselves
            really = datetime.fromisoformat(time + rows[0][1])
        zone = zone_named(rows[0][1]) if really.tzinfo is None else None
    except ValueError as error:
        raise RetimeError(f"the anchor's time is {time!r}; expected 2024-05-01 13:45:10 ({error})") from error
    if zone is not None:
        really = really.replace(tzinfo=zone)
    return really.astimezone(UTC) - datetime.fromisoformat(rows[0][0])


def _bound(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RetimeError(f"{text!r} is no time; expected 2024-05-01 or 2024-05-01T13:45:10") from error
    return iso_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _doubts(before: str | None, moved: datetime, received_at: str) -> str | None:
    """The doubts about a corrected time, as the database holds them."""
    kept = [doubt for doubt in (before or "").split(",") if doubt and doubt not in _ABOUT_THE_CLOCK]
    if moved < EARLIEST_PLAUSIBLE:
        kept.append(ClockDoubt.BEFORE_2005)
    if moved > datetime.fromisoformat(received_at) + FUTURE_ALLOWANCE:
        kept.append(ClockDoubt.FUTURE)
    return ",".join(kept) or None


def _range_in_words(correction: Correction) -> str:
    words = [f"{word} {value}" for word, value in (("from", correction.first), ("until", correction.last)) if value]
    return " ".join([*words, *(["files too"] if correction.files_too else [])])
