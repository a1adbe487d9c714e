"""Damage that no check of the pages sees: values that nobody can have written. Looked for when something has failed."""

import sqlite3
import time
from collections.abc import Iterator

from edge.database.repair.pages import Text
from edge.database.repair.shapes import TABLES, Shape, shapes
from edge.database.schema import NEWEST

_LOOKING_S = 20.0


def find_hidden_damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong in the database that this connection holds, in one line; `None` when nothing is found.

    It reads through the connection: to open the file once more would give up SQLite's locks.
    """
    try:
        return next(_damages(connection), None)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return " ".join(str(error).split())


def _damages(connection: sqlite3.Connection) -> Iterator[str]:
    end = time.monotonic() + _LOOKING_S
    before, connection.text_factory = connection.text_factory, lambda raw: raw.decode("utf-8", "replace")
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            yield str(verdict)
        if (row := connection.execute("PRAGMA foreign_key_check").fetchone()) is not None:
            yield f"a row of {row[0]} refers to one of {row[2]} that is not there"
        connection.text_factory = Text
        for shape in (shapes(NEWEST)[name] for name in TABLES):
            for number, row in enumerate(connection.execute(_select(shape))):
                made = shape.row(row[0], (None, *row[1:])) if shape.numbered else shape.row(None, row)
                if made is None or made[1]:
                    what = "a row" if made is None else made[1][0]
                    yield f"{what} of {shape.name} has a value that cannot be right"
                if number % 1000 == 0 and time.monotonic() > end:
                    return
    finally:
        connection.text_factory = before


def _select(shape: Shape) -> str:
    names = ", ".join(f'"{column.name}"' for column in shape.columns)
    return (
        f"SELECT {names} FROM {shape.name} NOT INDEXED"
        if not shape.without_rowid
        else f"SELECT {names} FROM {shape.name}"
    )
