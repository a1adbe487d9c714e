"""What somebody took out of a detections database by hand: a table is damage, the rest is made again."""

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from edge.database.migrations import MIGRATIONS
from edge.database.schema import NEWEST, statements

log = logging.getLogger(__name__)

_COLUMNS = """
SELECT m.name, c.name, c.type, c.pk > 0 OR c."notnull" FROM sqlite_master m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite^_%' ESCAPE '^'
"""
_OTHERS = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('view', 'index') AND sql IS NOT NULL ORDER BY rowid"

Column = tuple[str, str, str, int]
"""Table, name, type, and whether each row needs a value."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database consists of."""

    columns: tuple[Column, ...]
    others: tuple[tuple[str, str, str], ...]
    """Type, name and SQL of each view and each index that is not a table's own."""


def missing_table(connection: sqlite3.Connection) -> str | None:
    """A table or a column without which nothing can be logged, in one line; `None` for a whole or another database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not 0 < version <= NEWEST:
        return None
    there = {table for table, *_ in connection.execute(_COLUMNS)}
    for table, column, _, is_needed in _missing_columns(connection, version):
        if table not in there:
            return f"its table {table} is gone"
        if is_needed:
            return f"the column {column} of its table {table} is gone"
    return None


def make_again(connection: sqlite3.Connection) -> None:
    """Make the columns, views and indexes that are missing. Raises `sqlite3.Error` where the rows do not allow it."""
    for table, column, kind, _ in _missing_columns(connection, NEWEST):
        connection.execute(f'ALTER TABLE {table} ADD COLUMN "{column}" {kind}')
        log.warning("database: the column %s of its table %s was gone; it is there again, empty", column, table)
    there = {(kind, name) for kind, name, _ in connection.execute(_OTHERS)}
    for kind, name, sql in _as_made(NEWEST).others:
        if (kind, name) not in there:
            connection.execute(sql)
            log.warning("database: the %s %s was gone; it is there again", kind, name)


def _missing_columns(connection: sqlite3.Connection, version: int) -> list[Column]:
    there = {(table, column) for table, column, *_ in connection.execute(_COLUMNS)}
    return [column for column in _as_made(version).columns if column[:2] not in there]


@cache
def _as_made(version: int) -> Schema:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        for script in MIGRATIONS[:version]:
            for statement in statements(script):
                made.execute(statement)
        return Schema(tuple(made.execute(_COLUMNS)), tuple(made.execute(_OTHERS)))
