"""Read what can be read of a damaged database into a healthy one, row by row around the broken pages."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from edge.database.events.table import rebuild_events
from edge.database.repair.lost_schema import restore_schema
from edge.database.schema import NEWEST, create_database, open_database
from edge.database.transaction import writing

Row = tuple[Any, ...]

# In an order in which every row finds what it refers to; events are worked out anew.
_TABLES = {
    "deployment": "rowid", "model": "id", "configuration": "id", "run": "id", "media": "id", "observation": "id",
    "file": "path", "heartbeat": "at", "pruned": "rowid", "retime": "rowid", "pin": "id", "correction": "id",
    "embedding": "id",
}  # fmt: skip
_NEEDED = ("model", "run", "media", "observation")
"""Tables that have rows in every database with frames."""
# A column whose text is long lies on pages of its own; the row is worth having without it.
_BULKY = {"model": ("card", "{}"), "run": ("settings", "{}")}
_CHUNK = 500
_LONGEST_GAP = 5_000_000
# A frame is logged with its observation or not at all. What rows refer to and cannot be read gets an empty row, so that
# it stays known which decisions are of the same model, and which frames of the same camera.
_UNDO_HALVES = """
DELETE FROM media WHERE status = 'classified' AND (length(digest) <> 40 OR digest IS NULL);
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM media WHERE status = 'classified' AND id NOT IN (SELECT media FROM observation WHERE subject = 0);
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM candidate WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM file WHERE media NOT IN (SELECT id FROM media);
INSERT INTO model (id, sha256, name, version, card) SELECT model, 'lost ' || model, 'lost', '', '{}'
    FROM (SELECT model FROM observation UNION SELECT model FROM run)
    WHERE model NOTNULL AND model NOT IN (SELECT id FROM model);
UPDATE observation SET run = NULL WHERE run NOT IN (SELECT id FROM run);
INSERT INTO deployment (id) SELECT DISTINCT deployment FROM media
    WHERE deployment NOTNULL AND deployment NOT IN (SELECT id FROM deployment);
"""
_UNDO_HALVES_2 = """
INSERT INTO configuration (id, digest, document) SELECT configuration, 'lost ' || configuration, '{}'
    FROM (SELECT configuration FROM observation UNION SELECT configuration FROM run UNION SELECT configuration FROM pin)
    WHERE configuration NOTNULL AND configuration NOT IN (SELECT id FROM configuration);
INSERT INTO model (id, sha256, name, version, card) SELECT DISTINCT model, 'lost ' || model, 'lost', '', '{}'
    FROM pin WHERE model NOT IN (SELECT id FROM model);
INSERT INTO pin (model, configuration, at, "by") SELECT model, configuration, started_at, 'edge-classify' FROM run
    WHERE configuration NOTNULL AND NOT EXISTS (SELECT 1 FROM pin) ORDER BY id LIMIT 1;
DELETE FROM observation WHERE withdraws NOT IN (SELECT id FROM observation);
DELETE FROM observation WHERE withdraws NOT IN (SELECT id FROM observation);
UPDATE observation SET revises = NULL WHERE revises NOT IN (SELECT id FROM observation);
DELETE FROM candidate WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM embedding WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM stale WHERE media NOT IN (SELECT id FROM media) OR model NOT IN (SELECT id FROM model)
    OR configuration NOT IN (SELECT id FROM configuration);
DELETE FROM correction WHERE media NOT IN (SELECT id FROM media);
UPDATE correction SET undoes = NULL WHERE undoes NOT IN (SELECT id FROM correction);
UPDATE retime SET undoes = NULL WHERE undoes NOT IN (SELECT id FROM retime);
"""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What came out of a damaged database."""

    frames: int
    human_observations: int
    gaps: int
    """Stretches that could not be read."""

    def __str__(self) -> str:
        return (
            f"{self.frames} frames and {self.human_observations} observations by people were saved, "
            f"{self.gaps} places could not be read; frames that are missing now and still on disk are looked at again"
        )


def salvage(damaged: Path, out: Path) -> Salvaged:
    """Copy every readable row of the database at `damaged` (which is only read) into the new database `out`.

    Rows of an older version are copied as they are, and then migrated.
    """
    gaps = 0
    with _readable(damaged) as path, closing(_read_only(path)) as source:
        source.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        version = _version(source)
        with closing(create_database(out, version)) as into:
            into.execute("PRAGMA foreign_keys = OFF")
            with writing(into):
                if version > 1:
                    into.execute("DELETE FROM configuration")  # the damaged database has its own
                for table, key in _TABLES.items():
                    gaps += _copy(source, into, table, key)
                gaps += _copy_by_owner(source, into, "candidate", "observation", "SELECT id FROM observation")
                if version > 1:
                    gaps += _copy_by_owner(source, into, "stale", "media", "SELECT DISTINCT media FROM observation")
                for statement in (_UNDO_HALVES + (_UNDO_HALVES_2 if version > 1 else "")).split(";"):
                    into.execute(statement)
    with closing(open_database(out, keep_copy=False)) as into:
        rebuild_events(into)
        frames = into.execute("SELECT count(*) FROM media WHERE status = 'classified'").fetchone()[0]
        people = into.execute("SELECT count(*) FROM observation WHERE method = 'human'").fetchone()[0]
    return Salvaged(frames, people, gaps)


def _version(source: sqlite3.Connection) -> int:
    """Version of the schema, by the columns: the number in the header may be what is damaged."""
    for table, column in (("observation", "act"), ("media", "image_digest")):
        try:
            columns = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
        except sqlite3.DatabaseError:
            continue
        if columns:
            return 2 if column in columns else 1
    return NEWEST


@contextmanager
def _readable(damaged: Path) -> Iterator[Path]:
    """The file itself, or a copy with a new first page when it doesn't even tell which tables it has."""
    try:
        with closing(_read_only(damaged)) as source:
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        # Always the same name: what a killed repair left is removed by the next, and a small card never fills with it.
        folder = damaged.absolute().with_name(f".{damaged.name}.salvage")
        rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            copy = folder / "copy.db"
            for end in ("", "-wal"):
                if (part := Path(f"{damaged}{end}")).exists():
                    copyfile(part, f"{copy}{end}")
            restore_schema(copy)
            yield copy
        finally:
            rmtree(folder, ignore_errors=True)
    else:
        yield damaged


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str, key: str) -> int:
    """Copy one table; gives the number of stretches that could not be read."""
    columns = _shared_columns(source, into, table)
    if not columns:
        return int(table in _NEEDED)
    names = ", ".join(f'"{column}"' for column in columns)
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
    gaps = 0
    wanted = [names]
    if table in _BULKY:
        column, stand_in = _BULKY[table]
        wanted.append(names.replace(f'"{column}"', f"'{stand_in}'"))
    for select in wanted:
        reader = _Reader(source, table, key, select)
        for row in reader.rows():
            try:
                into.execute(insert, row)
            except (sqlite3.IntegrityError, UnicodeEncodeError):
                gaps += 1  # what came from the page is no row of this table
        if not reader.gaps:
            break
        gaps += reader.gaps
    return gaps


def _shared_columns(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> list[str]:
    wanted = [row[1] for row in into.execute(f"PRAGMA table_info({table})")]
    try:
        there = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        return []
    return [column for column in wanted if column in there]


def _copy_by_owner(source: sqlite3.Connection, into: sqlite3.Connection, table: str, owner: str, owners: str) -> int:
    """Copy a table whose key begins with the row that owns its rows; gives the number of owners that were in vain."""
    names = _shared_columns(source, into, table)
    if not names:
        return 0
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    gaps = 0
    for (id_,) in into.execute(owners).fetchall():
        try:
            rows = source.execute(f"SELECT {columns} FROM {table} WHERE {owner} = ?", (id_,)).fetchall()
            into.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", rows)
        except (sqlite3.DatabaseError, UnicodeEncodeError):
            gaps += 1
    return gaps


class _Reader:
    """The rows of one table: forward up to the first broken page, backward up to the last, single rows in between."""

    def __init__(self, source: sqlite3.Connection, table: str, key: str, select: str) -> None:
        self._source = source
        self._sql = f"SELECT {key}, {select} FROM {table} NOT INDEXED"
        if table in ("file", "heartbeat"):  # they have no row numbers: the key is the table
            self._sql = f"SELECT {key}, {select} FROM {table}"
        self._key = key
        self.gaps = 0

    def rows(self) -> Iterator[Row]:
        low = high = None
        for key, row in self._walk("ASC"):
            low = key
            yield row
        if not self.gaps:
            return
        tail = []
        for key, row in self._walk("DESC", low):
            high = key
            tail.append(row)
        if isinstance(high, int | None) and isinstance(low, int | None):
            first = 1 if low is None else low + 1
            last = first + _CHUNK * 40 if high is None else high
            for number in range(first, min(last, first + _LONGEST_GAP)):
                try:
                    found = self._source.execute(f"{self._sql} WHERE {self._key} = ?", (number,)).fetchone()
                except sqlite3.DatabaseError:
                    continue
                if found is not None:
                    yield found[1:]
        yield from reversed(tail)

    def _walk(self, direction: str, down_to: Any = None) -> Iterator[tuple[Any, Row]]:
        last: Any = None
        size = _CHUNK
        while True:
            beyond = [] if last is None else [(">" if direction == "ASC" else "<", last)]
            if down_to is not None:
                beyond.append((">", down_to))
            where = "WHERE " + " AND ".join(f"{self._key} {sign} ?" for sign, _ in beyond) if beyond else ""
            order = f"{where} ORDER BY {self._key} {direction} LIMIT {size}"
            try:
                found = self._source.execute(f"{self._sql} {order}", [value for _, value in beyond]).fetchall()
            except sqlite3.DatabaseError:
                if size == 1:
                    self.gaps += 1
                    return
                size = 1
                continue
            for row in found:
                yield row[0], row[1:]
            if len(found) < size:
                return
            last = found[-1][0]
