"""Correct the clock of a whole deployment afterwards: every frame moves by the same time, and a row says so."""

import argparse
import getpass
import re
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edge.capture.capture_time import EARLIEST_PLAUSIBLE, FUTURE_ALLOWANCE
from edge.database.event_table import update_events
from edge.database.schema import open_database
from edge.timestamps import iso_utc, now, zone_named

_SHIFT = re.compile(r"([+-]?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_FRAMES = """
SELECT id, captured_at, clock_doubt, received_at FROM media
WHERE deployment = ? AND captured_at IS NOT NULL AND captured_at >= ? AND captured_at <= ?
    AND (captured_at_raw IS NOT NULL OR ?)
"""
_MOVE = "UPDATE media SET captured_at = ?, clock_doubt = ? WHERE id = ?"
_NOTE = 'INSERT INTO retime (deployment, shift_s, at, "by", note) VALUES (?, ?, ?, ?, ?)'
_FIRST, _LAST = "0000", "9999"


class RetimeError(ValueError):
    """A correction that cannot be meant, in one line."""


@dataclass(frozen=True, slots=True)
class Retimed:
    """What was corrected."""

    frames: int
    shift_s: float
    events: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deployment", required=True, metavar="ID")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--shift", metavar="TIME", help="such as +1h, -2d3h, +45m10s (write --shift=-2d3h)")
    how.add_argument("--anchor", nargs=2, metavar=("FRAME", "TIME"), help="a frame's file name or media id, and when"
                     " it was really taken: '2024-05-01 13:45:10', in the deployment's zone unless it has an"
                     " offset")  # fmt: skip
    parser.add_argument("--from", dest="first", metavar="TIME", help="only frames logged at or after this (UTC)")
    parser.add_argument("--until", dest="last", metavar="TIME", help="only frames logged at or before this (UTC)")
    parser.add_argument("--files-too", action="store_true", help="also frames without EXIF, whose time is the file's")
    parser.add_argument("--note", metavar="TEXT", help="why, for those who read the database later")


def run(arguments: argparse.Namespace) -> int:
    """Correct `arguments.db`; 0 done, 2 wrong use."""
    if not arguments.db.is_file():
        print(f"edge-db: {arguments.db} is not there; name the database with --db", file=sys.stderr)
        return 2
    with closing(open_database(arguments.db)) as connection:
        try:
            done = retime_deployment(connection, arguments)
        except RetimeError as error:
            print(f"edge-db: {error}", file=sys.stderr)
            return 2
    sign = "-" if done.shift_s > 0 else ""
    print(
        f"{arguments.deployment}: {done.frames} frames moved by {done.shift_s:+,.0f} s, {done.events} events worked out"
        f" anew; undo with --shift={sign}{abs(done.shift_s):g}s"
    )
    return 0


def retime_deployment(connection: sqlite3.Connection, arguments: argparse.Namespace) -> Retimed:
    """Move the frames of a deployment in one transaction. Raises `RetimeError`."""
    name = arguments.deployment
    connection.execute("BEGIN IMMEDIATE")
    try:
        shift = parse_shift(arguments.shift) if arguments.shift else _anchored(connection, name, *arguments.anchor)
        span = (_bound(arguments.first) or _FIRST, _bound(arguments.last) or _LAST)
        frames = connection.execute(_FRAMES, (name, *span, arguments.files_too)).fetchall()
        if not frames:
            raise RetimeError(f"deployment {name!r} has no frames with a camera's time there; see --deployment, --from")
        for media, at, doubt, received_at in frames:
            moved = datetime.fromisoformat(at) + shift
            connection.execute(_MOVE, (iso_utc(moved), _doubts(doubt, moved, received_at), media))
        note = "; ".join(filter(None, (arguments.note, _range_in_words(arguments))))
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
    """What there is to doubt about the corrected time: a clock that was reset or ran ahead is answered for now."""
    kept = [
        doubt for doubt in (before or "").split(",") if doubt and doubt not in ("before_2005", "future", "backwards")
    ]
    if moved < EARLIEST_PLAUSIBLE:
        kept.append("before_2005")
    if moved > datetime.fromisoformat(received_at) + FUTURE_ALLOWANCE:
        kept.append("future")
    return ",".join(kept) or None


def _range_in_words(arguments: argparse.Namespace) -> str:
    words = [f"{word} {value}" for word, value in (("from", arguments.first), ("until", arguments.last)) if value]
    return " ".join([*words, *(["files too"] if arguments.files_too else [])])
