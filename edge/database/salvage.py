"""Read what can be read of a damaged database into a healthy one, row by row around the broken pages."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from edge.database.events.table import rebuild_events
from edge.database.schema import open_database

Row = tuple[Any, ...]

# In an order in which every row finds what it refers to; events are worked out anew.
_TABLES = {
    "deployment": "rowid", "model": "id", "configuration": "id", "run": "id", "media": "id", "observation": "id",
    "file": "path", "heartbeat": "at", "pruned": "rowid", "retime": "rowid", "pin": "id", "correction": "id",
}  # fmt: skip
_SINCE_VERSION_2 = ("configuration", "pin", "correction")
# A column whose text is long lies on pages of its own; the row is worth having without it.
_BULKY = {"model": ("card", "{}"), "run": ("settings", "{}")}
_CHUNK = 500
_LONGEST_GAP = 5_000_000
_INTERIOR = 5  # a b-tree page whose cells lead to other pages
# A frame is logged with its observation or not at all, and nothing refers to what was lost.
_UNDO_HALVES = """
DELETE FROM media WHERE status = 'classified' AND (length(digest) <> 40 OR digest IS NULL);
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM media WHERE status = 'classified' AND id NOT IN (SELECT media FROM observation WHERE subject = 0);
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM candidate WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM file WHERE media NOT IN (SELECT id FROM media);
UPDATE observation SET configuration = 1 WHERE configuration IS NULL AND method = 'machine' AND run NOT NULL;
UPDATE run SET model = (SELECT min(id) FROM model) WHERE model NOT IN (SELECT id FROM model);
UPDATE observation SET model = NULL WHERE model NOT IN (SELECT id FROM model);
UPDATE observation SET run = NULL WHERE run NOT IN (SELECT id FROM run);
UPDATE observation SET configuration = 1 WHERE configuration NOT IN (SELECT id FROM configuration);
UPDATE run SET configuration = 1 WHERE configuration IS NULL OR configuration NOT IN (SELECT id FROM configuration);
DELETE FROM pin WHERE model NOT IN (SELECT id FROM model) OR configuration NOT IN (SELECT id FROM configuration);
INSERT INTO pin (model, configuration, at, "by") SELECT model, configuration, started_at, 'edge-classify' FROM run
    WHERE NOT EXISTS (SELECT 1 FROM pin) ORDER BY id DESC LIMIT 1;
DELETE FROM correction WHERE media NOT IN (SELECT id FROM media);
UPDATE correction SET undoes = NULL WHERE undoes NOT IN (SELECT id FROM correction);
UPDATE media SET deployment = NULL WHERE deployment NOT IN (SELECT id FROM deployment);
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


def salvage(damaged: Path, into: sqlite3.Connection) -> Salvaged:
    """Copy every readable row of the database at `damaged` (which is only read) into an empty one of ours."""
    gaps = 0
    with _readable(damaged) as path, closing(_read_only(path)) as source:
        source.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        into.execute("PRAGMA foreign_keys = OFF")
        try:
            into.execute("BEGIN IMMEDIATE")
            (version,) = source.execute("PRAGMA user_version").fetchone()
            for table, key in _TABLES.items():
                if version == 1 and table in _SINCE_VERSION_2:
                    continue
                gaps += _copy(source, into, table, key)
            gaps += _copy_candidates(source, into)
            for statement in filter(None, map(str.strip, _UNDO_HALVES.split(";"))):
                into.execute(statement)
            into.commit()
        except BaseException:
            into.rollback()
            raise
        finally:
            into.execute("PRAGMA foreign_keys = ON")
    rebuild_events(into)
    frames = into.execute("SELECT count(*) FROM media WHERE status = 'classified'").fetchone()[0]
    people = into.execute("SELECT count(*) FROM observation WHERE method = 'human'").fetchone()[0]
    return Salvaged(frames, people, gaps)


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
            _graft_schema(copy, folder / "empty.db")
            yield copy
        finally:
            rmtree(folder, ignore_errors=True)
    else:
        yield damaged


def _graft_schema(path: Path, empty: Path) -> None:
    """Overwrite the pages that describe the tables with those of an empty database.

    Every database of ours is made by the same statements in the same order, so its tables begin on the same pages.
    The format: https://www.sqlite.org/fileformat2.html, sections 1.3 (header) and 1.6 (b-tree pages).
    """
    with closing(open_database(empty)) as fresh:
        fresh.execute("PRAGMA journal_mode = DELETE")
    pages = bytearray(empty.read_bytes())
    size = int.from_bytes(pages[16:18], "big")
    schema = {1}
    if pages[100] == _INTERIOR:
        cells = range(112, 112 + 2 * int.from_bytes(pages[103:105], "big"), 2)
        children = [int.from_bytes(pages[at : at + 2], "big") for at in cells]
        schema |= {int.from_bytes(pages[at : at + 4], "big") for at in (*children, 108)}
    with path.open("r+b") as file:
        count = max(path.stat().st_size // size, len(pages) // size)
        pages[28:40] = count.to_bytes(4, "big") + bytes(8)  # the size in pages, no free ones
        for number in sorted(schema):
            file.seek((number - 1) * size)
            file.write(pages[(number - 1) * size : number * size])


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _copy(source: sqlite3.Connection, into: sqlite3.Connection, table: str, key: str) -> int:
    """Copy one table; gives the number of stretches that could not be read."""
    columns = _shared_columns(source, into, table)
    if not columns:
        return int(table not in _SINCE_VERSION_2)
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


def _copy_candidates(source: sqlite3.Connection, into: sqlite3.Connection) -> int:
    gaps = 0
    for (observation,) in into.execute("SELECT id FROM observation").fetchall():
        try:
            rows = source.execute(
                "SELECT observation, place, taxon, rank, probability FROM candidate WHERE observation = ?",
                (observation,),
            ).fetchall()
            into.executemany("INSERT OR IGNORE INTO candidate VALUES (?, ?, ?, ?, ?)", rows)
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
