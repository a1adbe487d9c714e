"""Assignment of frames to a deployment by a person, and its undo: rows in `correction` that count before the rest."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path, PurePath

from edge.database.corrections.sites import (
    ASSIGN,
    AUTOMATIC,
    FIELD,
    NOTE,
    Assignment,
    Moves,
    assignments,
    assignments_in_force,
)
from edge.database.events.schedule import LONGEST_STRETCH
from edge.database.events.table import move_events
from edge.database.transaction import writing
from edge.settings.strict_toml import nearest
from edge.timestamps import iso_utc, now, zone_named

UNNAMED = "unnamed"
"""What reports call the frames without a deployment."""
_FRAMES = """
SELECT m.id, m.deployment, m.captured_at, m.time_zone, coalesce(f.path, m.path)
FROM media m LEFT JOIN file f ON f.media = m.id ORDER BY m.id
"""
_BATCH = """
SELECT b.id, b.media, b."by" FROM correction a JOIN correction b
ON b.at = a.at AND b."by" = a."by" AND b.note IS a.note AND b.field = a.field
    AND (b.undoes IS NULL) = (a.undoes IS NULL)
WHERE a.id = ? AND a.field = 'deployment' AND b.media NOT NULL ORDER BY b.id
"""


class AssignError(ValueError):
    """An assignment that cannot be meant, in one line."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which frames are meant; everything that is given must hold."""

    folder: str | None = None
    """A folder, or a pattern such as `*/100RECNX`: frames with a file at any depth below it."""
    paths: tuple[str, ...] | None = None
    """Paths of files, absolute or as far as they tell them apart."""
    first: str | None = None
    """Only frames taken at or after this, in the frame's zone unless it has an offset."""
    last: str | None = None
    """Only frames taken at or before this; a day is taken as a whole."""
    deployment: str | None = None
    """Only frames of this deployment; `unnamed`: of none."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The frames that are meant."""

    frames: dict[int, str | None]
    """Media id -> the deployment that the frame has now."""
    examples: tuple[str, ...]
    not_found: tuple[str, ...]
    """Paths that name no frame, or several."""

    @property
    def by_deployment(self) -> Counter[str | None]:
        return Counter(self.frames.values())


@dataclass(frozen=True, slots=True)
class Assigned:
    """What was written: the number by which it is undone, and the frames that changed their deployment."""

    id: int
    frames: int
    moves: Counter[tuple[str | None, str | None]]


def choose_frames(connection: sqlite3.Connection, choice: Choice) -> Chosen:
    """The frames that a choice means. Raises `AssignError`."""
    if choice == Choice():
        raise AssignError("which frames? name them by --folder, --paths, --from, --until or --of")
    span = (_bound(choice.first, end=False), _bound(choice.last, end=True))
    below = None if choice.folder is None else _FolderPattern(choice.folder)
    wanted = None if choice.paths is None else _Wanted(choice.paths)
    frames: dict[int, str | None] = {}
    examples: dict[int, str] = {}
    for media, deployment, captured_at, zone, stored in connection.execute(_FRAMES):
        path = os.fsdecode(stored)
        if choice.deployment is not None and (deployment or UNNAMED) != choice.deployment:
            continue
        if span != (None, None) and not _within(captured_at, zone, *span):
            continue
        if below is not None and not below.matches(os.path.dirname(path)):
            continue
        if wanted is not None:
            wanted.meet(path, media)
            continue
        frames[media] = deployment
        examples.setdefault(media, path)
    not_found: tuple[str, ...] = ()
    if wanted is not None:
        found, not_found = wanted.result()
        ids = json.dumps(list(found))
        rows = connection.execute(
            "SELECT id, deployment FROM media WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id", (ids,)
        )
        frames, examples = dict(rows.fetchall()), found
    if not frames:
        raise AssignError("no frame matches; `SELECT path, deployment, captured_at FROM media` shows what there is")
    return Chosen(frames, tuple(examples[media] for media in list(frames)[:5]), not_found)


def assign(
    connection: sqlite3.Connection, media: Iterable[int], deployment: str, by: str, note: str | None, new: bool = False
) -> Assigned:
    """Assign frames to a deployment in one transaction; `new` makes it. Raises `AssignError`."""
    if by.strip() in ("", AUTOMATIC):
        raise AssignError(f"--by is {by!r}: expected the name of a person")
    with writing(connection):
        known = [name for (name,) in connection.execute("SELECT id FROM deployment")]
        if deployment not in known:
            if not new or not deployment.strip() or not deployment.isprintable():
                near = nearest(deployment, known) if known else "there is none yet"
                raise AssignError(f"no deployment is called {deployment!r} here; {near}; --new makes one")
            connection.execute("INSERT INTO deployment (id) VALUES (?)", (deployment,))
        ids = list(media)
        settled = {
            id_ for id_, row in assignments_in_force(connection, ids).items() if row.new == deployment
        }  # a person said so already
        values = {id_: deployment for id_ in ids if id_ not in settled}
        if not values:
            raise AssignError(f"these frames were all assigned to {deployment} already")
        return _write(connection, values, {}, by, note)


def undo_assignment(connection: sqlite3.Connection, number: int, by: str, note: str | None) -> Assigned:
    """Undo what `assign` wrote, or an undo, by its number. Raises `AssignError`."""
    with writing(connection):
        batch = connection.execute(_BATCH, (number,)).fetchall()
        if not batch or batch[0][2] == AUTOMATIC:
            raise AssignError(
                f"{number} is no assignment by a person; "
                "`SELECT * FROM correction WHERE field = 'deployment'` shows them, each by its first number"
            )
        rows = assignments(connection, [media for _, media, _ in batch])
        undone = {row.undoes for of_frame in rows.values() for row in _valid(of_frame)}
        undoes = {media: id_ for id_, media, _ in batch if id_ not in undone}
        if not undoes:
            raise AssignError(f"{number} is undone already")
        at_last = {
            media: _value_after([*rows[media], Assignment(-1, undone_row, None, None, by)])
            for media, undone_row in undoes.items()
        }
        return _write(connection, at_last, undoes, by, note)


def _write(
    connection: sqlite3.Connection,
    values: dict[int, str | None] | dict[int, str],
    undoes: dict[int, int],
    by: str,
    note: str | None,
) -> Assigned:
    """Give frames their deployments, with a row for each; gives the first row's number."""
    ids = json.dumps(list(values))
    before = dict(
        connection.execute("SELECT id, deployment FROM media WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    )
    at, moves = iso_utc(now()), Moves()
    connection.executemany(ASSIGN, [(new, media) for media, new in values.items()])
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM correction").fetchone()
    connection.executemany(
        NOTE,
        [(media, None, FIELD, before[media], new, at, by, note, undoes.get(media)) for media, new in values.items()],
    )
    for media, new in values.items():
        if before[media] != new:
            moves.setdefault((before[media], new), []).append(media)
    move_events(connection, moves, most_frames=LONGEST_STRETCH)
    return Assigned(last + 1, len(values), Counter({move: len(frames) for move, frames in moves.items()}))


def _valid(rows: Sequence[Assignment]) -> list[Assignment]:
    """A frame's assignments that are in force, undos among them, newest first."""
    undone: set[int | None] = set()
    valid = []
    for row in reversed(rows):
        if row.id not in undone:
            valid.append(row)
            undone.add(row.undoes)
    return valid


def _value_after(rows: Sequence[Assignment]) -> str | None:
    """The deployment that a frame's rows give: of the newest in force, else the one before the oldest."""
    for row in _valid(rows):
        if row.undoes is None:
            return row.new
    return rows[0].old


class _FolderPattern:
    """A folder or a pattern of folders, matched against every folder above a file."""

    def __init__(self, text: str) -> None:
        absolute = os.path.abspath(text)
        self._literal = Path(absolute) if os.path.isdir(absolute) else None
        self._pattern = text.rstrip("/") or "/"
        self.matches = cache(self._matches)

    def _matches(self, folder: str) -> bool:
        path = PurePath(folder)
        if self._literal is not None:
            return path.is_relative_to(self._literal)
        return any(one.match(self._pattern) for one in (path, *path.parents))


class _Wanted:
    """Paths of a list, as they are met among the logged files."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._names: dict[str, list[tuple[PurePath, int]]] = {os.path.basename(path): [] for path in paths}

    def meet(self, path: str, media: int) -> None:
        """A logged file."""
        name = os.path.basename(path)
        if name in self._names:
            self._names[name].append((PurePath(path), media))

    def result(self) -> tuple[dict[int, str], tuple[str, ...]]:
        """Media ids with a path of each, and the lines that name no frame or several."""
        found: dict[int, str] = {}
        missing = []
        for path in self._paths:
            here = self._names[os.path.basename(path)]
            exact = PurePath(os.path.abspath(path))
            fitting = [one for one in here if one[0] == exact] or [one for one in here if one[0].match(_literal(path))]
            if len({media for _, media in fitting}) != 1:
                missing.append(path)
            else:
                found[fitting[0][1]] = str(fitting[0][0])
        return found, tuple(missing)


def _literal(path: str) -> str:
    """A path as a pattern that matches nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path.removeprefix("./"))


def _within(captured_at: str | None, zone: str | None, first: datetime | None, last: datetime | None) -> bool:
    if captured_at is None:
        return False
    at = datetime.fromisoformat(captured_at)
    local = at.astimezone(_zone(zone)).replace(tzinfo=None)

    def of(bound: datetime) -> datetime:
        return at if bound.tzinfo else local

    return (first is None or of(first) >= first) and (last is None or of(last) <= last)


@cache
def _zone(name: str | None) -> tzinfo:
    """The zone of a frame, which may be an offset such as +02:00."""
    try:
        offset = datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo if name and name[:1] in "+-" else None
        return offset or zone_named(name or "UTC")
    except ValueError:
        return UTC


def _bound(text: str | None, end: bool) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AssignError(f"{text!r} is no time; expected 2026-05-01 or 2026-05-01T13:45") from error
    return moment + timedelta(days=1, microseconds=-1) if end and len(text) <= 10 else moment
