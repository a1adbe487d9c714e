"""Which deployment a frame belongs to: a person's assignment, else the configuration, else the earlier value.

The configuration speaks by the earliest-seen path of a frame that still exists and lies in a deployment's folder. A
path counts as gone only when that folder is there and the file is not: pruned files and folders that are not mounted
change nothing. So frames that were logged before their camera stood in the configuration follow at the next start, and
so do files that were moved below another deployment's folder. Each change is a row in `correction`.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

import msgspec

from edge.capture.files import files_below
from edge.database.events.schedule import LONGEST_STRETCH
from edge.database.events.table import move_events, with_companions
from edge.settings.deployment_table import Deployment
from edge.settings.options import Settings
from edge.timestamps import iso_utc, now, zone_named

AUTOMATIC = "edge-classify"
"""Who corrects by the configuration, in the column `by`."""
FIELD = "deployment"
NOTE = """
INSERT INTO correction (media, deployment, field, old, new, at, "by", note, undoes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ASSIGN = "UPDATE media SET deployment = ? WHERE id = ?"
_EARTH_M = 6_371_000
_KNOWN = 'SELECT latitude, longitude, time_zone, start, "end", folder FROM deployment WHERE id = ?'
_COLUMNS = ("latitude", "longitude", "time_zone", "start", "end", "folder")
_SAVE = """
INSERT INTO deployment (id, latitude, longitude, time_zone, start, "end", folder) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET latitude = excluded.latitude, longitude = excluded.longitude,
    time_zone = excluded.time_zone, start = excluded.start, "end" = excluded."end", folder = excluded.folder
"""
_ADD = "INSERT INTO deployment (id, folder) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
# A path is TEXT or, when it is not UTF-8, BLOB: each kind is a range of the table's key.
_BELOW = "(f.path >= :text AND f.path < :text_end OR f.path >= :blob AND f.path < :blob_end)"
_NOT_AS_CONFIGURED = f"""
SELECT DISTINCT m.id FROM file f JOIN media m ON m.id = f.media
WHERE {_BELOW} AND m.deployment IS NOT {{wanted}} AND {{wanted}} IS NOT NULL
"""
_WITHOUT = f"""
SELECT DISTINCT m.id FROM file f JOIN media m ON m.id = f.media
WHERE ({_BELOW} OR f.path IN (:file, :file_blob)) AND m.deployment IS NULL
"""
_FIRST_BELOW = "SELECT path FROM file WHERE path > ? AND path < ? ORDER BY path LIMIT 1"
_ANY_BELOW = f"SELECT 1 FROM file f WHERE {_BELOW} LIMIT 1"
_FRAMES = """
SELECT m.id, m.deployment, m.captured_at, d.folder, f.path
FROM media m JOIN file f ON f.media = m.id LEFT JOIN deployment d ON d.id = m.deployment
WHERE m.id IN (SELECT value FROM json_each(?)) ORDER BY m.id, f.seen_at, f.path
"""
_ASSIGNMENTS = """
SELECT media, id, undoes, old, new, "by" FROM correction
WHERE field = 'deployment' AND media IN (SELECT value FROM json_each(?)) ORDER BY id
"""


Moves = dict[tuple[str | None, str | None], list[int]]
"""(deployment before, deployment now) -> media ids"""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row of `correction` about a frame's deployment."""

    id: int
    undoes: int | None
    old: str | None
    new: str | None
    by: str


@dataclass(slots=True)
class Followed:
    """What the configuration changed, and what it could not decide."""

    moves: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    """(deployment before, deployment now) -> frames"""
    shared: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Path of a frame whose file lies in two deployments' folders -> the deployment it keeps, the other one"""
    corrected: list[str] = field(default_factory=list)
    """A line for each deployment that the configuration corrects."""
    without_files: list[str] = field(default_factory=list)
    """Deployments whose folder holds no file, each with its folder."""

    def lines(self) -> Iterator[str]:
        """One line for each kind of change."""
        yield from self.corrected
        if self.without_files:
            yield f"no file lies in the folder of {', '.join(self.without_files)}; check `folder` in the configuration"
        if self.moves:
            parts = [f"{count} from {old or 'no deployment'} to {new}" for (old, new), count in self.moves.items()]
            frames = self.moves.total()
            yield f"{frames} frame{'s' if frames > 1 else ''} assigned by the configuration: {', '.join(parts)}"
        if self.shared:
            path, (kept, other) = next(iter(self.shared.items()))
            yield (
                f"{len(self.shared)} frame{'s' if len(self.shared) > 1 else ''} with files in two deployments' folders"
                f" stay with the first: {ascii(path)[1:-1]} stays with {kept}, a copy lies in the folder of {other};"
                " `edge-db assign` decides otherwise"
            )


class Sites:
    """Assigns frames to deployments as the settings say; call it inside the transaction that logs them."""

    def __init__(self, connection: sqlite3.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def begin(self) -> Followed:
        """At a start: save the deployments of the configuration, and let the frames that are logged follow it."""
        followed = Followed()
        for deployment in self._settings.deployments:
            if line := save_deployment(self._connection, deployment):
                followed.corrected.append(line)
            if deployment.folder is not None and not self._has_files(deployment.folder):
                followed.without_files.append(f"{deployment.id} ({deployment.folder})")
        moves = self._follow(self._candidates(), followed)
        move_events(self._connection, moves, most_frames=LONGEST_STRETCH)
        return followed

    def follow(self, media: int, followed: Followed) -> list[int]:
        """Another path of a logged frame was seen; gives the frames whose events are to be worked out anew."""
        if self._settings.deployment is not None or not self._follow([media], followed):
            return []
        return with_companions(self._connection, [media])

    def chosen(self, media: int, proposed: str | None, path: str) -> str | None:
        """The deployment of a file that is logged now: a person's assignment of its row, else the proposed one."""
        if proposed is not None:
            self._know(proposed, path)
        found = assignments_in_force(self._connection, [media])
        return found[media].new if found else proposed

    def _know(self, name: str, path: str) -> None:
        """Add a deployment that has its name from a folder."""
        if not any(deployment.id == name for deployment in self._settings.deployments):
            folder = next((d.folder for d in self._settings.deployments_for(Path(path)) if d.id == name), None)
            self._connection.execute(_ADD, (name, folder and _text(str(folder))))

    def _candidates(self) -> list[int]:
        """Frames below a deployment's folder that belong to another one, or to none."""
        found: dict[int, None] = {}
        if self._settings.deployment is not None:  # it says nothing of frames that have a deployment already
            for source in self._settings.sources:
                names = {"file": str(source), "file_blob": os.fsencode(source)}
                rows = self._connection.execute(_WITHOUT, {**_range(source), **names})
                found |= dict.fromkeys(media for (media,) in rows)
            return sorted(found)
        for folder, sharing in self._folders():
            wanted, values = self._wanted(sharing)
            rows = self._connection.execute(_NOT_AS_CONFIGURED.format(wanted=wanted), {**_range(folder), **values})
            found |= dict.fromkeys(media for (media,) in rows)
        return sorted(found)

    def _folders(self) -> Iterator[tuple[Path, tuple[Deployment, ...]]]:
        """Each folder that belongs to a deployment, with those that share it."""
        folders = dict.fromkeys(d.folder for d in self._settings.deployments if d.folder is not None)
        for source in self._settings.sources if self._settings.deployment_from else ():
            folders |= dict.fromkeys(source / name for name in self._first_folders(source))
        for folder in folders:
            yield folder, self._settings.deployments_for(folder / "any")

    def _first_folders(self, source: Path) -> Iterator[str]:
        """Names of the first folders below a source that hold logged files: one question of the index for each."""
        for text in (True, False):
            start = f"{source}/" if text else os.fsencode(f"{source}/")
            end = start[:-1] + ("0" if isinstance(start, str) else b"0")  # type: ignore[operator]
            at = start
            while row := self._connection.execute(_FIRST_BELOW, (at, end)).fetchone():
                name, slash, _ = os.fsdecode(row[0])[len(os.fsdecode(start)) :].partition("/")
                below = f"{source}/{name}" + ("0" if slash else "")
                at = below if text else os.fsencode(below)
                if slash:
                    yield name

    def _wanted(self, sharing: Sequence[Deployment]) -> tuple[str, dict[str, str]]:
        """SQL for the deployment of a frame in a folder, with its values."""
        if len(sharing) == 1:
            return ":name", {"name": sharing[0].id}
        zone = None if self._settings.time_zone is None else zone_named(self._settings.time_zone)
        parts, values = list[str](), dict[str, str]()
        for i, deployment in enumerate(sharing):
            start, end = deployment.period(zone)
            parts.append(f"WHEN m.captured_at >= :start{i} AND m.captured_at < :end{i} THEN :name{i}")
            values |= {f"start{i}": iso_utc(start), f"end{i}": iso_utc(end + timedelta(seconds=1))}
            values[f"name{i}"] = deployment.id
        return f"(CASE {' '.join(parts)} END)", values

    def _follow(self, candidates: list[int], followed: Followed) -> Moves:
        """Assign those of some frames that the configuration gives another deployment, and note it; gives them."""
        assigned = assignments_in_force(self._connection, candidates)
        rows = self._connection.execute(_FRAMES, (json.dumps([m for m in candidates if m not in assigned]),))
        disk, moves, at = _Disk(self._settings), list[tuple[int, str | None, str, str]](), iso_utc(now())
        for (media, before, captured_at, folder), frames in groupby(rows, key=lambda row: row[:4]):
            taken = None if captured_at is None else datetime.fromisoformat(captured_at)
            paths = [os.fsdecode(row[4]) for row in frames]
            path, deployment = self._configured(paths, _Frame(before, folder, taken), followed, disk)
            if deployment is not None and deployment.id != before:
                moves.append((media, before, deployment.id, path))
        for name, path in {name: path for _, _, name, path in moves}.items():
            self._know(name, path)
        self._connection.executemany(ASSIGN, [(new, media) for media, _, new, _ in moves])
        notes = [(media, None, FIELD, old, new, at, AUTOMATIC, _text(path), None) for media, old, new, path in moves]
        self._connection.executemany(NOTE, notes)
        by_move: Moves = {}
        for media, old, new, _ in moves:
            by_move.setdefault((old, new), []).append(media)
        followed.moves.update({move: len(frames) for move, frames in by_move.items()})
        return by_move

    def _configured(
        self, paths: Sequence[str], frame: "_Frame", followed: Followed, disk: "_Disk"
    ) -> tuple[str, Deployment | None]:
        """The path that decides and the deployment that the configuration gives it; `None` keeps the earlier one."""
        decided: tuple[str, Deployment | None] | None = None
        for path in paths:
            sharing = disk.deployments_for(os.path.dirname(path))
            if not sharing:
                own = frame.folder is not None and Path(path).is_relative_to(frame.folder)
                stays = frame.folder is None or (own and not self._is_gone(path, Path(frame.folder), disk))
                if frame.deployment is not None and stays and decided is None:
                    return path, None  # it was named by a flag, or its folder stands in the configuration no more
                continue
            if self._is_gone(path, sharing[0].folder or Path(path).parent, disk):
                continue
            here = self._settings.in_period(sharing, frame.taken)
            if decided is None:
                decided = (path, here)
            elif decided[1] is not None and decided[1] not in sharing and os.path.lexists(path):
                followed.shared[decided[0]] = (decided[1].id, sharing[0].id)
        return decided or ("", None)

    def _is_gone(self, path: str, folder: Path, disk: "_Disk") -> bool:
        """Whether the folder is there and the file is not; what was pruned is not gone."""
        if not disk.is_folder(str(folder)) or disk.holds(path):
            return False
        return self._connection.execute("SELECT 1 FROM pruned WHERE path IN (?, ?)", _both(path)).fetchone() is None

    def _has_files(self, folder: Path) -> bool:
        logged = self._connection.execute(_ANY_BELOW, _range(folder)).fetchone()
        return logged is not None or next(files_below(str(folder)), None) is not None


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is known of a frame."""

    deployment: str | None
    folder: str | None
    """Of its deployment, as the database knows it."""
    taken: datetime | None


class _Disk:
    """What is in folders, and whose they are; each is read once."""

    def __init__(self, settings: Settings) -> None:
        self.is_folder = cache(os.path.isdir)
        self.deployments_for = cache(lambda folder: settings.deployments_for(Path(folder, "any")))
        self._names = cache(_names)

    def holds(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._names(folder)


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def without_known_folders(connection: sqlite3.Connection, settings: Settings) -> Settings:
    """The settings without the sources that lie in a known deployment's folder, whose first folders are no cameras."""
    if settings.deployment_from is None:
        return settings
    folders = [Path(folder) for (folder,) in connection.execute("SELECT folder FROM deployment WHERE folder NOT NULL")]
    known = [source for source in settings.sources if any(source.is_relative_to(folder) for folder in folders)]
    return msgspec.structs.replace(settings, sources=tuple(one for one in settings.sources if one not in known))


def save_deployment(connection: sqlite3.Connection, deployment: Deployment) -> str | None:
    """Save what the configuration says of a deployment; gives a line when that corrects what was known.

    What the configuration leaves out stays as it was.
    """
    known = connection.execute(_KNOWN, (deployment.id,)).fetchone()
    said = {name: getattr(deployment, name) for name in _COLUMNS}
    said["folder"] = None if deployment.folder is None else _text(str(deployment.folder))
    if known is None:
        connection.execute(_SAVE, (deployment.id, *said.values()))
        return None
    before = dict(zip(_COLUMNS, known, strict=True))
    changes = {name: value for name, value in said.items() if value is not None and value != before[name]}
    if not changes:
        return None
    connection.execute(_SAVE, (deployment.id, *(before | changes).values()))
    at = iso_utc(now())
    for name, value in changes.items():
        old, new = (None if one is None else str(one) for one in (before[name], value))
        connection.execute(NOTE, (None, deployment.id, name, old, new, at, AUTOMATIC, None, None))
    words = [f"{name} {before[name]} to {value}" for name, value in changes.items() if before[name] is not None]
    place = [(one["latitude"], one["longitude"]) for one in (before, before | changes)]
    moved = "" if None in (*place[0], *place[1]) or place[0] == place[1] else f", {distance_m(*place):,.0f} m away"
    return f"deployment {deployment.id} corrected by the configuration: {', '.join(words)}{moved}" if words else None


def distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Metres between two places, each latitude and longitude in degrees."""
    (latitude, longitude), (other_latitude, other_longitude) = (tuple(map(radians, place)) for place in (one, other))
    across = sin((other_longitude - longitude) / 2) ** 2 * cos(latitude) * cos(other_latitude)
    return 2 * _EARTH_M * asin(min(1.0, sqrt(sin((other_latitude - latitude) / 2) ** 2 + across)))


def assignments(connection: sqlite3.Connection, media: Iterable[int]) -> dict[int, list[Assignment]]:
    """All corrections of the frames' deployments, oldest first."""
    found: dict[int, list[Assignment]] = {}
    for media_id, *row in connection.execute(_ASSIGNMENTS, (json.dumps(list(media)),)):
        found.setdefault(media_id, []).append(Assignment(*row))
    return found


def assignments_in_force(connection: sqlite3.Connection, media: Iterable[int]) -> dict[int, Assignment]:
    """The newest assignment by a person that was not undone, of each frame that has one."""
    found = {id_: in_force(rows) for id_, rows in assignments(connection, media).items()}
    return {id_: row for id_, row in found.items() if row is not None}


def in_force(rows: Sequence[Assignment]) -> Assignment | None:
    """The newest of a frame's assignments by a person that was not undone; an undo may itself be undone."""
    undone: set[int] = set()
    for row in reversed(rows):
        if row.id in undone or row.by == AUTOMATIC:
            continue
        if row.undoes is None:
            return row
        undone.add(row.undoes)
    return None


def _range(folder: Path) -> dict[str, str | bytes]:
    """Bounds of the paths below a folder."""
    start, end = f"{folder}/".replace("//", "/"), f"{str(folder).rstrip('/')}0"
    return {"text": _text(start), "text_end": _text(end), "blob": os.fsencode(start), "blob_end": os.fsencode(end)}


def _both(path: str) -> tuple[str, bytes]:
    return _text(path), os.fsencode(path)


def _text(path: str) -> str:
    """A path as text for people and for SQLite, which takes no bytes that are no UTF-8 as text."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
