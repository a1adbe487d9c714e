"""The table `correction`: one row for each value that was set right afterwards, with who and when."""

import getpass
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from edge.timestamps import iso_utc, now

_NEW = """
INSERT INTO correction (media, field, old, new, at, "by", note, undoes, retime) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
SOFTWARE = "edge-classify"
"""Who corrects where no person asked for it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a frame that is set right."""

    media: int
    field: str
    old: str | None
    new: str | None
    undoes: int | None = None
    """The row of `correction` that this one takes back."""


def write_changes(
    connection: sqlite3.Connection,
    changes: Iterable[Change],
    by: str,
    note: str | None,
    retime: int | None = None,
    unchanged_too: bool = False,
) -> None:
    """Write down changes of one moment, inside the transaction that makes them.

    With `unchanged_too` also values that were only confirmed.
    """
    at = iso_utc(now())
    rows = [
        (c.media, c.field, c.old, c.new, at, by, note, c.undoes, retime)
        for c in changes
        if c.old != c.new or unchanged_too
    ]
    connection.executemany(_NEW, rows)


def login_name() -> str:
    """Who uses the computer; a number where the account has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
