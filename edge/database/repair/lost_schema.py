"""Finds the tables of a database whose first page, which says where they begin, is lost.

Every table is a tree of pages. A page to which no other page leads is the root of a tree; what its first rows look like
tells which table it is. So it does not matter which version wrote the file, nor whether a migration or `VACUUM` moved
the tables. The format: https://www.sqlite.org/fileformat2.html, sections 1.3 (header), 1.6 (b-tree pages) and 2.1
(records).
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge.database.migrations import MIGRATIONS

_INDEX_INTERIOR, _TABLE_INTERIOR, _INDEX_LEAF, _TABLE_LEAF = 2, 5, 10, 13
_PAGE_BYTES = 4096
"""Size of every page; SQLite's default, which this software never changes."""
_ROWS_COMPARED = 5
_CLASSES = {
    "INTEGER": {"null", "int"},
    "REAL": {"null", "int", "real"},
    "TEXT": {"null", "text"},
    "BLOB": {"null", "blob"},
}
"""Classes of the values that a column of each type holds."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table in one version of the schema."""

    version: int
    name: str
    columns: tuple[tuple[str, str], ...]
    """(name, type)."""
    without_rowid: bool
    key: tuple[str, ...]
    fewest: int
    """Values of the shortest row: a column that a migration added is missing from rows that are older."""

    def fits(self, row: list[str]) -> bool:
        """Whether a row, given by the classes of its values, can be of this table."""
        if not self.fewest <= len(row) <= len(self.columns) or (self._numbered and row[0] != "null"):
            return False
        return all(found in _CLASSES.get(type_, {found}) for found, (_, type_) in zip(row, self.columns, strict=False))

    @property
    def _numbered(self) -> bool:
        """Whether the first column is the number of the row, which the row itself does not hold."""
        return not self.without_rowid and self.columns[0] == ("id", "INTEGER")

    def sql(self) -> str:
        """A statement that makes a table with these columns and without any index."""
        columns = [f'"{name}" {type_}'.strip() for name, type_ in self.columns]
        if self.without_rowid:
            keys = ", ".join(f'"{name}"' for name in self.key)
            return f"CREATE TABLE {self.name} ({', '.join(columns)}, PRIMARY KEY ({keys})) WITHOUT ROWID"
        if self._numbered:
            columns[0] += " PRIMARY KEY"
        return f"CREATE TABLE {self.name} ({', '.join(columns)})"


def shapes(version: int) -> dict[str, Shape]:
    """The tables of a version by their names."""
    before = shapes(version - 1) if version > 1 else {}
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        found = {}
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            info = connection.execute(f"PRAGMA table_info({name})").fetchall()
            columns = tuple((row[1], row[2]) for row in info)
            key = tuple(row[1] for row in sorted(info, key=lambda row: row[5]) if row[5])
            older = before.get(name)
            grown = older is not None and columns[: len(older.columns)] == older.columns
            fewest = older.fewest if older is not None and grown else len(columns)
            found[name] = Shape(version, name, columns, "WITHOUT ROWID" in sql, key, fewest)
    return found


def restore_schema(path: Path) -> None:
    """Write a first page that says where the tables of the file at `path` begin. What is not found has no rows."""
    size = path.stat().st_size // _PAGE_BYTES
    with path.open("r+b") as file:
        version, roots = _find_tables(file.read())
        known = shapes(version)
        page = bytearray(_first_page([known[name] for name in roots], roots, version))
        page[28:40] = size.to_bytes(4, "big") + bytes(8)  # the size in pages, no free ones
        file.seek(0)
        file.write(page)


def _first_page(tables: list[Shape], roots: Mapping[str, int], version: int) -> bytes:
    """The first page of a database with these tables, which begin on the pages `roots`."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        for table in tables:
            connection.execute(table.sql())
        connection.execute("PRAGMA writable_schema = ON")
        for table in tables:
            connection.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", (roots[table.name], table.name))
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
        page: bytes = connection.serialize()[:_PAGE_BYTES]
    assert page[100] == _TABLE_LEAF, "the schema has outgrown its page"
    return page


def _find_tables(content: bytes) -> tuple[int, dict[str, int]]:
    """The version of the schema, and the page on which each table begins."""
    pages = len(content) // _PAGE_BYTES
    led_to: set[int] = set()
    children: dict[int, list[int]] = {}
    for number in range(2, pages + 1):
        page = content[(number - 1) * _PAGE_BYTES : number * _PAGE_BYTES]
        if page[0] in (_INDEX_INTERIOR, _TABLE_INTERIOR):
            children[number] = [child for child in _children(page) if 1 < child <= pages]
            led_to.update(children[number])
    trees = []
    for number in range(2, pages + 1):
        kind = content[(number - 1) * _PAGE_BYTES]
        if number not in led_to and kind in (_INDEX_INTERIOR, _TABLE_INTERIOR, _INDEX_LEAF, _TABLE_LEAF):
            rows = list(_first_rows(content, number, children))
            if rows:
                trees.append((number, kind in (_INDEX_INTERIOR, _INDEX_LEAF), rows, _size(number, children)))
    found: dict[int, dict[str, tuple[int, int]]] = {}
    for version in range(1, len(MIGRATIONS) + 1):
        best = found[version] = {}
        for shape in shapes(version).values():
            fitting = [
                (size, -number)
                for number, in_index, rows, size in trees
                if in_index == shape.without_rowid and all(map(shape.fits, rows))
            ]
            if fitting:
                size, number = max(fitting)
                best[shape.name] = (-number, size)
    # Rows of the newest version do not fit an older one, while a table that a migration replaced may lie there still.
    version = max(found, key=lambda v: ("observation" in found[v], v))
    return version, {name: number for name, (number, _) in found[version].items()}


def _children(page: bytes) -> Iterator[int]:
    cells = int.from_bytes(page[3:5], "big")
    for at in range(12, min(12 + 2 * cells, _PAGE_BYTES - 1), 2):
        cell = int.from_bytes(page[at : at + 2], "big")
        yield int.from_bytes(page[cell : cell + 4], "big")
    yield int.from_bytes(page[8:12], "big")


def _size(root: int, children: Mapping[int, list[int]]) -> int:
    """Number of pages of a tree."""
    seen, waiting = set(), [root]
    while waiting:
        number = waiting.pop()
        if number not in seen:
            seen.add(number)
            waiting += children.get(number, [])
    return len(seen)


def _first_rows(content: bytes, root: int, children: Mapping[int, list[int]]) -> Iterator[list[str]]:
    """The classes of the values in the first rows of a tree."""
    seen = set()
    number = root
    while number in children and number not in seen and children[number]:
        seen.add(number)
        number = children[number][0]
    page = content[(number - 1) * _PAGE_BYTES : number * _PAGE_BYTES]
    if page[0] not in (_TABLE_LEAF, _INDEX_LEAF):
        return
    cells = min(int.from_bytes(page[3:5], "big"), _ROWS_COMPARED)
    for at in range(8, 8 + 2 * cells, 2):
        cell = int.from_bytes(page[at : at + 2], "big")
        _, cell = _varint(page, cell)  # bytes of the row
        if page[0] == _TABLE_LEAF:
            _, cell = _varint(page, cell)  # its number
        header_bytes, at_type = _varint(page, cell)
        end = min(cell + header_bytes, _PAGE_BYTES)
        row = []
        while at_type < end:
            serial_type, at_type = _varint(page, at_type)
            row.append(_value_class(serial_type))
        yield row


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    value = 0
    for place in range(9):
        if at >= len(page):
            return value, at
        byte = page[at]
        at += 1
        if place == 8:
            return (value << 8) | byte, at
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            break
    return value, at


def _value_class(serial_type: int) -> str:
    if serial_type == 0:
        return "null"
    if serial_type >= 12:
        return "text" if serial_type % 2 else "blob"
    return "real" if serial_type == 7 else "int" if serial_type < 10 else "unknown"
