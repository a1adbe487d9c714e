"""Capture times that are set right frame by frame, each with a row in `correction`, and what a retime did to them."""

import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge.capture.capture_time import CaptureTime, at_zone, read_time
from edge.database.corrections.audit import SOFTWARE, Change, write_changes
from edge.host.status import clock_synchronised
from edge.settings.deployment_table import Deployment
from edge.timestamps import FUTURE_ALLOWANCE, iso_utc, now, zone_named
from edge.vocabulary import ClockDoubt

log = logging.getLogger(__name__)

_TIME = "SELECT captured_at, captured_at_raw, time_zone, clock_doubt, time_source FROM media WHERE id = ?"
_SET_TIME = """
UPDATE media SET captured_at = ?, captured_at_raw = ?, time_zone = ?, clock_doubt = ?, time_source = ? WHERE id = ?
"""
TOUCHED = """
SELECT 1 FROM correction c WHERE c.media = m.id AND c.field IN ('captured_at', 'clock_doubt') AND c.retime IS NOT NULL
    AND c.undoes IS NULL AND NOT EXISTS (SELECT 1 FROM correction u WHERE u.undoes = c.id)
    AND c.id > coalesce((SELECT max(r.id) FROM correction r
                         WHERE r.media = m.id AND r.field = 'captured_at' AND r.retime IS NULL), 0)
"""
"""Whether a retime is in force for the frame `m`: not undone, and no time that was set for it alone came later."""
_READ_IN_OTHER_ZONE = f"""
SELECT m.id, m.captured_at, m.captured_at_raw, m.time_zone, m.clock_doubt, EXISTS ({TOUCHED})
FROM media m WHERE m.deployment IS ?1 AND (m.time_zone < ?2 OR m.time_zone > ?2) AND m.status = 'classified'
    AND m.captured_at_raw IS NOT NULL AND {{which}}
"""
_ASSUMED = "instr(m.clock_doubt, 'zone_assumed') > 0"
_NAMED = "m.time_zone GLOB '[A-Za-z]*' AND coalesce(m.time_source, '') NOT LIKE 'GPS%'"
_NO_TIME = frozenset({ClockDoubt.NO_EXIF, ClockDoubt.UNREADABLE_TIME})
_NEW_ZONE = "UPDATE media SET captured_at = ?, time_zone = ?, clock_doubt = ? WHERE id = ?"
_IN_FUTURE = "SELECT id, clock_doubt FROM media WHERE instr(clock_doubt, 'future') > 0 AND captured_at <= ?"
_SET_DOUBT = "UPDATE media SET clock_doubt = ? WHERE id = ?"


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What became of frames whose camera got another time zone."""

    frames: tuple[int, ...] = ()
    """Frames that were read again in the zone, by media id."""
    left: int = 0
    """Frames that stay as they are: somebody has moved them, or their text is not understood."""


def set_capture_time(
    connection: sqlite3.Connection, media: int, captured: CaptureTime, by: str = SOFTWARE, note: str | None = None
) -> bool:
    """Give a frame another capture time, inside the caller's transaction; gives whether anything changed.

    It is what the file says now: a retime that came before does not apply to it, nor will its undo.
    """
    old = connection.execute(_TIME, (media,)).fetchone()
    doubt = ",".join(captured.doubts) or None
    new = (iso_utc(captured.at), captured.raw or None, captured.zone, doubt, captured.source or None)
    if old == new:
        return False
    connection.execute(_SET_TIME, (*new, media))
    names = ("captured_at", "captured_at_raw", "time_zone", "clock_doubt", "time_source")
    write_changes(connection, [Change(media, *values) for values in zip(names, old, new, strict=True)], by, note)
    return True


def read_again_in_zone(
    connection: sqlite3.Connection, deployment: str | None, zone: str, assumed_only: bool = False
) -> ReadAgain:
    """Read the cameras' own times again in `zone`, where they were read in another one and nobody moved them since.

    With `assumed_only` only those for which no zone was configured. Call it inside a transaction.
    """
    sql = _READ_IN_OTHER_ZONE.format(which=_ASSUMED if assumed_only else f"({_ASSUMED} OR {_NAMED})")
    rows = connection.execute(sql, (deployment, zone)).fetchall()
    changes, updates, left = [], [], 0
    for media, at, raw, before, doubt, touched in rows:
        doubts = set(filter(None, (doubt or "").split(",")))
        if doubts & _NO_TIME:
            continue  # the file's time has no zone
        again = None if touched else _moved(raw, at, before, zone)
        if again is None:
            left += 1
            continue
        moment, new_doubts = again
        of_the_zone = {ClockDoubt.ZONE_ASSUMED, ClockDoubt.DST_GAP, ClockDoubt.DST_REPEAT}
        kept = ",".join(word for word in ClockDoubt if word in (doubts - of_the_zone) | set(new_doubts)) or None
        updates.append((moment, zone, kept, media))
        same = moment == at
        changes.append(Change(media, "time_zone", before, zone) if same else Change(media, "captured_at", at, moment))
    connection.executemany(_NEW_ZONE, updates)
    write_changes(connection, changes, SOFTWARE, f"the camera's time, read in {zone}")
    return ReadAgain(tuple(update[3] for update in updates), left)


def follow_zones(connection: sqlite3.Connection, deployments: Iterable[Deployment], zone: str | None) -> list[int]:
    """Read frames again whose zone was configured after they came, and say so; gives their media ids.

    `zone` is that of all cameras without one of their own. Call it inside a transaction.
    """
    own = [(deployment.id, deployment.time_zone) for deployment in deployments if deployment.time_zone is not None]
    found = [(name, where, read_again_in_zone(connection, name, where)) for name, where in own]
    if zone is not None:
        rest = connection.execute("SELECT NULL UNION ALL SELECT id FROM deployment WHERE time_zone IS NULL").fetchall()
        found += [(name, zone, read_again_in_zone(connection, name, zone, assumed_only=True)) for (name,) in rest]
    for name, where, again in found:
        if again.frames or again.left:
            log.info(
                "%s: the times of %d frames were read again in %s; %d others stay as they are, for somebody set them"
                " or they are not understood",
                *(name or "frames without a deployment", len(again.frames), where, again.left),
            )
    return [media for _, _, again in found for media in again.frames]


def judge_future(connection: sqlite3.Connection, clock: datetime | None = None) -> int:
    """Take back the doubt `future` of frames whose time has come by a clock that is kept right; gives their number.

    `clock` is that of this machine unless given, and nothing is judged where that is known to run free. Call it inside
    a transaction.
    """
    if clock is None:
        if clock_synchronised() is False:
            return 0
        clock = now()
    rows = connection.execute(_IN_FUTURE, (iso_utc(clock + FUTURE_ALLOWANCE),)).fetchall()
    changes = []
    for media, doubt in rows:
        kept = ",".join(word for word in doubt.split(",") if word != ClockDoubt.FUTURE) or None
        connection.execute(_SET_DOUBT, (kept, media))
        changes.append(Change(media, "clock_doubt", doubt, kept))
    write_changes(connection, changes, SOFTWARE, f"it is {iso_utc(clock)} by now")
    return len(rows)


def _moved(raw: str, at: str, before: str, zone: str) -> tuple[str, tuple[ClockDoubt, ...]] | None:
    """What `raw` says in `zone`, with its doubts; `None` unless `at` is still what it says in the zone `before`."""
    read = read_time(raw)
    if read is None or read.offset is not None:
        return None
    fraction = timedelta(microseconds=datetime.fromisoformat(at).microsecond)
    local = read.local.replace(microsecond=0) + fraction
    try:
        then, repeated, _ = at_zone(local, zone_named(before))
    except ValueError:  # an offset, where the host did not tell its zone
        try:
            then, repeated = datetime.fromisoformat(f"{local.isoformat()}{before}").astimezone(UTC), timedelta()
        except ValueError:
            return None
    if at not in (iso_utc(then), iso_utc(then + repeated)):
        return None
    moment, _, doubts = at_zone(local, zone_named(zone))
    return iso_utc(moment), doubts
