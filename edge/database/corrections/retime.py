"""Correction of a deployment's clock afterwards: every frame moves by the same time, and a row records it."""

import os
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge.database.corrections.audit import Change, login_name, write_changes
from edge.database.corrections.capture_times import judge_future
from edge.database.events.table import update_events
from edge.database.transaction import writing
from edge.timestamps import EARLIEST_PLAUSIBLE, FUTURE_ALLOWANCE, iso_utc, now, zone_named
from edge.vocabulary import ClockDoubt

_SHIFT = re.compile(r"([+-]?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_FRAMES = """
SELECT id, captured_at, clock_doubt FROM media
WHERE deployment IS ? AND captured_at IS NOT NULL AND captured_at >= ? AND captured_at <= ?
    AND (? OR captured_at_raw IS NOT NULL AND NOT coalesce(instr(clock_doubt, 'no_exif') > 0
         OR instr(clock_doubt, 'unreadable_time') > 0 OR instr(clock_doubt, 'edited') > 0, 0))
"""
_NAMED = """
SELECT captured_at, time_zone FROM media WHERE deployment IS ?1 AND captured_at IS NOT NULL
    AND (CAST(id AS TEXT) = ?2 OR CAST(path AS BLOB) = ?3 OR substr(CAST(path AS BLOB), -length(?4)) = ?4)
"""
_MOVE = "UPDATE media SET captured_at = ?, clock_doubt = ? WHERE id = ?"
_NOTE = 'INSERT INTO retime (deployment, shift_s, at, "by", note, undoes) VALUES (?, ?, ?, ?, ?, ?)'
_RETIME = "SELECT deployment, shift_s, undoes FROM retime WHERE id = ?"
_MOVED = "SELECT id, media, old, new FROM correction WHERE retime = ? AND field = ?"
_NEXT = """
SELECT c.media, n.retime, min(n.id) FROM correction c JOIN correction n ON n.media = c.media AND n.id > c.id
WHERE c.retime = ?1 AND c.field = 'captured_at' AND n.field = 'captured_at' AND n.undoes IS NULL
    AND NOT EXISTS (SELECT 1 FROM correction u WHERE u.undoes = n.id)
GROUP BY c.media
"""
_TIME_OF = "SELECT captured_at, clock_doubt FROM media WHERE id = ?"
_IN_FORCE = """
SELECT id, shift_s, at, "by", coalesce(note, '') FROM retime r WHERE deployment IS ? AND undoes IS NULL
    AND NOT EXISTS (SELECT 1 FROM retime u WHERE u.undoes = r.id) ORDER BY id
"""
_SPAN = """
SELECT count(*), min(captured_at), max(captured_at) FROM media WHERE deployment IS ? AND captured_at IS NOT NULL
"""
_DOUBTFUL = """
SELECT clock_doubt, count(*), min(captured_at), max(captured_at) FROM media
WHERE deployment IS ? AND captured_at IS NOT NULL AND clock_doubt IS NOT NULL GROUP BY clock_doubt ORDER BY 3
"""
_FIRST, _LAST = "0000", "9999"
_SETTLED = frozenset(
    {ClockDoubt.BEFORE_2005, ClockDoubt.FUTURE, ClockDoubt.BACKWARDS, ClockDoubt.RESET, ClockDoubt.EDITED}
)
"""Doubts that a correction settles, or that are decided anew."""
_SETTLED_BY_CONFIRMING = _SETTLED | {ClockDoubt.DST_GAP, ClockDoubt.DST_REPEAT}


class RetimeError(ValueError):
    """A correction that cannot be meant, in one line."""


@dataclass(frozen=True, slots=True)
class Retimed:
    """What was corrected."""

    deployment: str | None
    id: int
    """The row of `retime`."""
    frames: int
    shift: timedelta
    events: int
    left: int = 0
    """Frames that an undo leaves as they are, for their file told another time since."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction of a deployment's clock, as people write it: exactly one of `shift` and `anchor` is given."""

    deployment: str | None
    """`None`: the frames without a deployment."""
    shift: str | None = None
    """Such as `+1h` or `-2d3h`."""
    anchor: tuple[str, str] | None = None
    """A frame's file name or media id, and when it was really taken."""
    first: str | None = None
    """Only frames logged at or after this time (UTC)."""
    last: str | None = None
    """Only frames logged at or before this time (UTC)."""
    files_too: bool = False
    """Whether frames whose time is not the camera's (the file's, that of an edit) move too."""
    note: str | None = None
    by: str | None = None
    """Who corrects; the login name unless given."""


def retime_deployment(connection: sqlite3.Connection, correction: Correction) -> Retimed:
    """Move the frames of a deployment in one transaction. Raises `RetimeError`."""
    name = correction.deployment
    with writing(connection):
        judge_future(connection)
        if correction.anchor is not None:
            shift = _anchored(connection, name, *correction.anchor)
        else:
            shift = parse_shift(correction.shift or "")
        span = (_bound(correction.first) or _FIRST, _bound(correction.last) or _LAST)
        frames = connection.execute(_FRAMES, (name, *span, correction.files_too)).fetchall()
        if not frames:
            raise RetimeError(f"{_in_words(name)} has no frames with a camera's time there; see --deployment, --from")
        note = "; ".join(filter(None, (correction.note, _range_in_words(correction)))) or None
        by = correction.by or login_name()
        id_ = connection.execute(_NOTE, (name, shift.total_seconds(), iso_utc(now()), by, note, None)).lastrowid
        changes = []
        for media, at, doubt in frames:
            try:
                moved = datetime.fromisoformat(at) + shift
                new = iso_utc(moved), _doubts(doubt, moved, confirmed=not shift)
            except OverflowError as error:
                raise RetimeError(f"media {media} of {at} would leave the calendar; see the shift") from error
            connection.execute(_MOVE, (*new, media))
            changes.append(Change(media, "captured_at", at, new[0]))
            changes.append(Change(media, "clock_doubt", doubt, new[1]))
        write_changes(connection, changes, by, note, id_, unchanged_too=not shift)
        events = update_events(connection, [media for media, *_ in frames])
    return Retimed(name, int(id_ or 0), len(frames), shift, events)


def undo_retime(connection: sqlite3.Connection, id_: int, by: str | None = None, note: str | None = None) -> Retimed:
    """Give exactly the frames that a retime moved their former times and doubts. Raises `RetimeError`.

    Frames whose file told another time since stay as they are.
    """
    with writing(connection):
        row = connection.execute(_RETIME, (id_,)).fetchone()
        if row is None:
            raise RetimeError(f"there is no retime {id_}; `edge-db retime --deployment ID` lists them")
        name, shift_s, undoes = row
        if undoes is not None:
            raise RetimeError(f"retime {id_} took back retime {undoes}; give that correction again")
        undone = connection.execute("SELECT id FROM retime WHERE undoes = ?", (id_,)).fetchone()
        if undone is not None:
            raise RetimeError(f"retime {id_} was undone already, by retime {undone[0]}")
        times = connection.execute(_MOVED, (id_, "captured_at")).fetchall()
        if not times:
            raise RetimeError(
                f"retime {id_} was done by an older version, which did not note its frames; move them back with"
                f" --shift={seconds_in_words(timedelta(seconds=-shift_s))} and the same --from and --until"
            )
        replaced = set()
        for media, later, _ in connection.execute(_NEXT, (id_,)).fetchall():
            if later is not None:
                raise RetimeError(f"retime {later} moved some of these frames later; undo that one first")
            replaced.add(media)
        doubts = {media: (row_id, old) for row_id, media, old, _ in connection.execute(_MOVED, (id_, "clock_doubt"))}
        by = by or login_name()
        undo = connection.execute(_NOTE, (name, -shift_s, iso_utc(now()), by, note, id_)).lastrowid
        changes = []
        for row_id, media, old, _ in times:
            if media in replaced:
                continue
            at, doubt = connection.execute(_TIME_OF, (media,)).fetchone()
            doubt_row, old_doubt = doubts.get(media, (None, doubt))
            connection.execute(_MOVE, (old, old_doubt, media))
            changes.append(Change(media, "captured_at", at, old, row_id))
            changes.append(Change(media, "clock_doubt", doubt, old_doubt, doubt_row))
        write_changes(connection, changes, by, note, undo, unchanged_too=not shift_s)
        events = update_events(connection, [media for _, media, _, _ in times if media not in replaced])
    shift = timedelta(seconds=-shift_s)
    return Retimed(name, int(undo or 0), len(times) - len(replaced), shift, events, len(replaced))


def describe_clock(connection: sqlite3.Connection, deployment: str | None) -> list[str]:
    """The times of a deployment's frames, the doubts about them, and the retimes in force, line by line.

    Raises `RetimeError`.
    """
    with writing(connection):
        judge_future(connection)
    name = _in_words(deployment)
    number, first, last = connection.execute(_SPAN, (deployment,)).fetchone()
    if not number:
        raise RetimeError(f"{name} has no frames with a time; see --deployment")
    lines = [f"{name}: {number} frames from {first} to {last}"]
    for doubt, count, first, last in connection.execute(_DOUBTFUL, (deployment,)):
        lines.append(f"{doubt}: {count} frames from {first} to {last}")
    for id_, shift_s, at, by, note in connection.execute(_IN_FORCE, (deployment,)):
        shift = seconds_in_words(timedelta(seconds=shift_s))
        lines.append(f"retime {id_} by {by} at {at}: {shift}{' ' * bool(note)}{note}; --undo={id_} takes it back")
    lines.append(
        "--shift=TIME or --anchor FRAME TIME moves them (with --from TIME and --until TIME only some); --shift=0s says"
        " that they are right"
    )
    return lines


def deployment_named(connection: sqlite3.Connection, db: Path, name: str) -> str | None:
    """The deployment of a name that reports show: `None` for the name that they give to frames without one."""
    if connection.execute("SELECT 1 FROM deployment WHERE id = ?", (name,)).fetchone() is None:
        for unnamed in ("unnamed", db.stem):
            if name.startswith(unnamed) and not name[len(unnamed) :].replace("-unnamed", ""):
                return None
    return name


def seconds_in_words(shift: timedelta) -> str:
    """A shift as `--shift` takes it, exactly."""
    sign = "-" if shift < timedelta() else "+"
    whole, rest = divmod(abs(shift), timedelta(seconds=1))
    fraction = f".{rest.microseconds:06}".rstrip("0").rstrip(".")
    return f"{sign}{whole}{fraction}s"


def parse_shift(text: str) -> timedelta:
    """`+1h`, `-2d3h`, `90s`. Raises `RetimeError`."""
    match = _SHIFT.fullmatch(text.replace(" ", ""))
    if match is None or not any(match.groups()[1:]):
        raise RetimeError(f"the shift is {text!r}; expected days, hours, minutes, seconds such as +1h or -2d3h30m")
    whole, _, fraction = (match[5] or "0").partition(".")
    try:
        shift = timedelta(int(match[2] or 0), int(whole), int(f"{fraction:0<6}"[:6])) + timedelta(
            hours=int(match[3] or 0), minutes=int(match[4] or 0)
        )
    except OverflowError as error:
        raise RetimeError(f"the shift is {text!r}, longer than the calendar") from error
    return -shift if match[1] == "-" else shift


def _anchored(connection: sqlite3.Connection, deployment: str | None, frame: str, time: str) -> timedelta:
    name = os.fsencode(frame)
    rows = connection.execute(_NAMED, (deployment, frame if frame.isdigit() else "", name, b"/" + name)).fetchall()
    if len(rows) != 1:
        whose = "no deployment" if deployment is None else repr(deployment)
        raise RetimeError(f"{len(rows)} frames of {whose} are called {frame!r}; give one's media id or full path")
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


def _doubts(before: str | None, moved: datetime, confirmed: bool) -> str | None:
    """The doubts about a corrected time, as the database holds them; those that are decided anew count unless a person
    said that the time is right as it is.
    """
    settled = _SETTLED_BY_CONFIRMING if confirmed else _SETTLED
    kept = [doubt for doubt in (before or "").split(",") if doubt and doubt not in settled]
    if not confirmed and moved < EARLIEST_PLAUSIBLE:
        kept.append(ClockDoubt.BEFORE_2005)
    if not confirmed and moved > now() + FUTURE_ALLOWANCE:
        kept.append(ClockDoubt.FUTURE)
    return ",".join(kept) or None


def _in_words(deployment: str | None) -> str:
    return "frames without a deployment" if deployment is None else f"deployment {deployment!r}"


def _range_in_words(correction: Correction) -> str:
    words = [f"{word} {value}" for word, value in (("from", correction.first), ("until", correction.last)) if value]
    return " ".join([*words, *(["files too"] if correction.files_too else [])])
