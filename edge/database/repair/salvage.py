"""Read what can be read of a damaged database into a healthy one, page by page and within a bounded time.

Every page is looked at once, wherever it lies: what its rows look like tells which table they are of. So no order, no
tree and no number of the damaged file has to be right. A row comes out where every value that it needs is one that can
have been written; what is left out is counted and named.

Run as a module, this is the process that reads: whatever the bytes do to it, it ends in time.
"""

import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

from edge.database.events.table import rebuild_events
from edge.database.repair.joining import join_rows
from edge.database.repair.pages import INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF, Pages, Record, Text
from edge.database.repair.salvaged import Salvaged
from edge.database.repair.shapes import TABLES, Shape, shapes
from edge.database.repair.stored_schema import StoredSchema
from edge.database.schema import NEWEST, create_database, open_database
from edge.database.transaction import writing

LIMIT_S = 55.0
"""After this the process that reads is ended."""
READING_S = 25.0
"""Reading stops after this, with what there is by then."""
CHECKING_S = 6.0
"""For comparing digests with the frames' files."""
EVENTS_S = 6.0
_MEMORY_BYTES = 500_000_000

_SAMPLE = 3
_LIKE_ENOUGH = 0.75
"""Share of values that fit, on a page that the tree of a table leads to; elsewhere all have to."""


class SalvageError(RuntimeError):
    """Nothing could be made of the file, for the reason in the message."""


def salvage(damaged: Path, out: Path) -> Salvaged:
    """Copy what can be read of the database at `damaged` (which is only read) into the new database `out`.

    Ends within a minute, whatever the bytes are. Raises `SalvageError` when nothing could be made of them, and
    `OSError` when the disk is at fault.
    """
    command = [sys.executable, "-m", "edge.database.repair.salvage", str(damaged), str(out)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SalvageError(f"reading it took longer than {LIMIT_S:.0f} s") from error
    try:
        said = json.loads(child.stdout)
    except ValueError as error:
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise SalvageError(f"the process that reads it ended: {last[0] if last else child.returncode}") from error
    if "errno" in said:
        raise OSError(said["errno"], said["error"])
    return Salvaged(**{**said, "dropped": Counter(said["dropped"]), "emptied": Counter(said["emptied"])})


def read_into(damaged: Path, out: Path) -> Salvaged:
    """What `salvage` does, in this process and without its limits."""
    pages = Pages(damaged)
    schema = StoredSchema.of(pages)
    report = Salvaged()
    version, places = _find_rows(pages, schema)
    with closing(create_database(out, version)) as into:
        into.execute("PRAGMA journal_mode = MEMORY")
        into.execute("PRAGMA synchronous = OFF")
        into.execute("PRAGMA foreign_keys = OFF")
        with writing(into):
            if version > 1:
                into.execute("DELETE FROM configuration")  # the damaged database has its own
            end = time.monotonic() + READING_S
            for name in TABLES:
                if name in places.tables:
                    _Copy(pages, into, shapes(version)[name], report).all(places.tables[name], end)
            report.gaps += places.unreadable
            join_rows(into, pages, schema, report, version, time.monotonic() + CHECKING_S)
    with closing(open_database(out, keep_copy=False)) as into:
        _rebuild_events(into, report)
        report.frames = into.execute("SELECT count(*) FROM media WHERE status = 'classified'").fetchone()[0]
        report.human_observations = into.execute("SELECT count(*) FROM observation WHERE method = 'human'").fetchone()[
            0
        ]
        if into.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise SalvageError("rows that were saved refer to rows that were not")
    report.gaps += sum(report.dropped.values())
    return report


@dataclass(slots=True)
class _Places:
    """Where the rows of each table are."""

    tables: dict[str, list[int]] = field(default_factory=dict)
    unreadable: int = 0
    """Pages that belong to a table of ours and have no row of any."""


def _find_rows(pages: Pages, schema: StoredSchema) -> tuple[int, _Places]:
    """The version of the schema, and which pages hold the rows of which table."""
    versions = range(1, NEWEST + 1) if schema.version is None else (schema.version,)
    found = {version: _Places() for version in versions}
    free = pages.free()
    for number in range(1, pages.count + 1):
        if number in free or pages.kind(number) not in (TABLE_LEAF, INDEX_LEAF, INDEX_INTERIOR):
            if schema.owner.get(number) in TABLES and not pages.children(number):
                for places in found.values():
                    places.unreadable += 1
            continue
        sample = [record for record in pages.records(number, _SAMPLE) if record is not None]
        owner = schema.owner.get(number)
        for version, places in found.items():
            name = _table_of(sample, owner, schema, shapes(version))
            if name is not None:
                places.tables.setdefault(name, []).append(number)
            elif owner in TABLES and (sample or not pages.is_empty(number)):
                places.unreadable += 1
    # Rows of the newest version do not fit an older one, while a table that a migration replaced may lie there still.
    version = max(found, key=lambda v: ("observation" in found[v].tables, v))
    places = found[version]
    for numbers in places.tables.values():  # those in their place come first
        numbers.sort(key=lambda number: (number not in schema.owner, number))
    return version, places


def _table_of(sample: Sequence[Record], owner: str | None, schema: StoredSchema, known: dict[str, Shape]) -> str | None:
    """The table whose rows a page holds, by its first rows; that to which it belongs, unless they are of another."""
    if not sample:
        return None

    def likeness(shape: Shape) -> list[float]:
        if shape.without_rowid != (sample[0].number is None):
            return [0.0]
        return [shape.likeness(record.values) for record in sample]

    if owner in TABLES and owner in known:
        alike = likeness(known[owner])
        if sum(alike) / len(alike) >= _LIKE_ENOUGH:
            return owner
    elif owner in schema.entries and schema.entries[owner].kind == "table" and owner not in known:
        return None  # a table that somebody added
    fitting = [name for name in TABLES if name in known and min(likeness(known[name])) == 1]
    return fitting[0] if len(fitting) == 1 else None


class _Copy:
    """Copies the rows of one table."""

    def __init__(self, pages: Pages, into: sqlite3.Connection, shape: Shape, report: Salvaged) -> None:
        self._pages = pages
        self._into = into
        self._shape = shape
        self._report = report
        names = ", ".join(f'"{column.name}"' for column in shape.columns)
        self._insert = f"INSERT INTO {shape.name} ({names}) VALUES ({', '.join('?' * len(shape.columns))})"
        same = " AND ".join(f'"{column.name}" IS ?' for column in shape.columns)
        self._same = f"SELECT 1 FROM {shape.name} WHERE {same}"

    def all(self, numbers: Sequence[int], end: float) -> None:
        """Copy the rows of these pages, until the time is over."""
        for done, number in enumerate(numbers):
            if time.monotonic() > end:
                self._report.gaps += len(numbers) - done
                self._report.notes.append(
                    f"there was no time for {len(numbers) - done} of {len(numbers)} pages of {self._shape.name}"
                )
                return
            for record in self._pages.records(number):
                if record is None:
                    self._report.gaps += 1
                else:
                    self._copy(record)

    def _copy(self, record: Record) -> None:
        shape = self._shape
        made = shape.row(record.number, record.values)
        if made is None:
            self._drop(record)
            return
        row, emptied = made
        try:
            self._into.execute(self._insert, row)
        except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError):
            if self._into.execute(self._same, row).fetchone() is None:
                self._drop(record)
        else:
            self._report.emptied.update(f"{shape.name}.{column}" for column in emptied)

    def _drop(self, record: Record) -> None:
        self._report.dropped[self._shape.name] += 1
        if self._shape.name == "observation" and Text(b"human") in record.values:
            said = [value.decode("utf-8", "replace") for value in record.values if isinstance(value, Text)]
            self._report.lost_labels.append(", ".join(ascii(words)[1:-1] for words in said)[:200])


def _rebuild_events(into: sqlite3.Connection, report: Salvaged) -> None:
    end = time.monotonic() + EVENTS_S
    into.set_progress_handler(lambda: int(time.monotonic() > end), 100_000)
    try:
        rebuild_events(into)
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        report.notes.append(f"the events are left to the reports ({error})")
    finally:
        into.set_progress_handler(None, 0)


def main(arguments: Sequence[str]) -> int:
    """The process that reads; it says what came out as one line of JSON."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        report = read_into(Path(arguments[0]), Path(arguments[1]))
        said: dict[str, object] = {item.name: getattr(report, item.name) for item in fields(report)}
    except (OSError, sqlite3.OperationalError) as error:
        number = error.errno if isinstance(error, OSError) else None
        said = {"errno": number or 5, "error": str(error)}
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
