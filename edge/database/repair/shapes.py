"""What rows of our tables look like, and what each of their values must be: how salvage knows a row from damage."""

import json
import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import zip_longest

import numpy as np

from edge.database.migrations import MIGRATIONS
from edge.database.repair.pages import Stored, Text
from edge.timestamps import iso_utc, now
from edge.vocabulary import BoxSource, DecisionReason, FileReason, ImageDoubt

Value = int | float | str | bytes | None

UNKNOWN_TIME = "1970-01-01T00:00:00.000Z"
"""Stands where a row's own moment can't be read, in columns that must have one."""
_BROKEN = object()
_MOST_KNOWN = 2000
_KNOWN: dict[tuple[str, str], dict[bytes, object]] = defaultdict(dict)
"""Texts of a column that have been checked: names of taxa come again and again."""
# In an order in which what is worth most comes first; events are worked out anew.
TABLES = (
    *("deployment", "model", "configuration", "run", "media", "observation", "correction", "retime", "pin", "file"),
    *("pruned", "stale", "embedding", "candidate", "heartbeat"),
)


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    needed: bool
    """A row without it is none."""


@dataclass(frozen=True)
class Shape:
    """A table in one version of the schema."""

    name: str
    columns: tuple[Column, ...]
    without_rowid: bool
    fewest: int
    """Values of the shortest row: a column that a migration added is missing from rows that are older."""
    sql: str

    @cached_property
    def numbered(self) -> bool:
        """Whether the first column is the number of the row, which the record itself does not hold."""
        return not self.without_rowid and (self.columns[0].name, self.columns[0].type) == ("id", "INTEGER")

    def likeness(self, values: Sequence[Stored]) -> float:
        """The share of a record's values that can be of this table; 0 where their number can't."""
        if not self.fewest <= len(values) <= len(self.columns) or (self.numbered and values[0] is not None):
            return 0.0
        fitting = sum(map(_fits, values, self.columns))
        return fitting / len(values)

    def row(self, number: int | None, values: Sequence[Stored]) -> "tuple[list[Value], list[str]] | None":
        """The row of a record, and the columns whose values cannot be right; `None` if one of them is needed."""
        if not self.fewest <= len(values) <= len(self.columns) or (self.numbered and values[0] is not None):
            return None
        row, left_out = list[Value](), list[str]()
        for column, stored in zip_longest(self.columns, values if not self.numbered else (number, *values[1:])):
            known = _KNOWN[self.name, column.name]
            value = known.get(stored, _BROKEN) if type(stored) is Text else _BROKEN
            if value is _BROKEN:
                value = _checked(self.name, column, stored)
                if value is _BROKEN:
                    if column.needed and (self.name, column.name) not in _STAND_INS:
                        return None
                    value = _STAND_INS.get((self.name, column.name))
                    left_out.append(column.name)
                elif type(stored) is Text and len(known) < _MOST_KNOWN:
                    known[stored] = value
            row.append(value)  # type: ignore[arg-type]  # no longer broken
        return None if 2 * len(left_out) > len(self.columns) else (row, left_out)


@cache
def shapes(version: int) -> dict[str, Shape]:
    """The tables of a version by their names."""
    before = shapes(version - 1) if version > 1 else {}
    found = {}
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = tuple(
                Column(name, type_, bool(not_null or key))
                for _, name, type_, not_null, _, key in connection.execute(f"PRAGMA table_info({name})")
            )
            older = before.get(name)
            grown = older is not None and columns[: len(older.columns)] == older.columns
            fewest = older.fewest if older is not None and grown else len(columns)
            found[name] = Shape(name, columns, "WITHOUT ROWID" in sql, fewest, sql)
    return found


def _fits(value: Stored, column: Column) -> bool:
    if value is None or not column.type:
        return True
    if isinstance(value, Text):
        return column.type == "TEXT"
    if isinstance(value, bytes):
        return column.type == "BLOB"
    return column.type == "REAL" or (column.type == "INTEGER" and isinstance(value, int))


def _checked(table: str, column: Column, stored: Stored) -> object:
    """The value, if it is one that this software or a person can have written."""
    if stored is None:
        return _BROKEN if column.needed else None
    value: Value = stored
    if isinstance(stored, Text):
        try:
            value = stored.decode("utf-8")
        except UnicodeDecodeError:
            return _BROKEN
        if "\0" in value:
            return _BROKEN
    if not _fits(stored, column) or not is_sound(table, column.name, value):
        return _BROKEN
    if isinstance(value, float) and not math.isfinite(value):
        return _BROKEN
    return value


@cache
def _check_of(table: str, column: str) -> Callable[[Value], bool]:
    return _CHECKS.get((table, column)) or _CHECKS.get(("", column)) or (lambda _: True)


def is_sound(table: str, column: str, value: Value) -> bool:
    """Whether a column can have this value."""
    return _check_of(table, column)(value)


def _like(pattern: str) -> Callable[[Value], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _between(low: float, high: float) -> Callable[[Value], bool]:
    return lambda value: isinstance(value, int | float) and low <= value <= high


def _is_document(value: Value) -> bool:
    """Whether it is a JSON object."""
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _is_path(value: Value) -> bool:
    """An absolute path: text, or bytes where the name is no UTF-8."""
    if isinstance(value, bytes):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return value.startswith(b"/") and b"\0" not in value
        return False
    return isinstance(value, str) and value.startswith("/") and "\ufffd" not in value


def _is_moment(value: Value) -> bool:
    """A moment in UTC as `iso_utc` writes it, or with less of it, as people do."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value if len(value) > 7 else f"{value}-01-01"[:10])
    except ValueError:
        return False
    return True


def _is_exact(value: Value) -> bool:
    return isinstance(value, str) and len(value) >= 20 and _is_moment(value)


def _is_log_probabilities(value: Value) -> bool:
    if not isinstance(value, bytes) or len(value) % 2:
        return False
    numbers = np.frombuffer(value, np.float16)
    return bool((numbers <= 0.01).all())  # NaN is not


_MOMENT = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?)?)?")
_DIGEST = _like("[0-9a-f]{40}")
_SHARE = _between(0, 1)
_ID = _between(1, 2**62)
_COUNT = _between(0, 2**53)

_WORDS = {
    "reason": {*DecisionReason, *FileReason},
    "box_source": set(BoxSource),
    "image_doubt": set(ImageDoubt),
}  # fmt: skip
# By (table, column); with "" for those of any table.
_CHECKS: dict[tuple[str, str], Callable[[Value], bool]] = {
    **{("", name): _ID for name in ("id", "media", "run", "model", "configuration", "observation", "retime")},
    **{("", name): _ID for name in ("revises", "withdraws", "undoes")},
    **{("", name): _COUNT for name in ("subject", "revision", "line", "attempts", "backlog", "free_bytes", "bytes")},
    **{("", name): _between(0, 10**6) for name in ("count", "count_confirmed", "place")},
    **{("", name): _between(1, 10**6) for name in ("width_px", "height_px")},
    **{("", name): _SHARE for name in ("confidence", "probability", "box_x", "box_y", "box_width", "box_height")},
    **{("", name): _between(0, 1) for name in ("infrared", "clock_synchronised")},
    **{("", name): _is_moment for name in ("at", "started_at", "ended_at", "classified_at", "received_at", "seen_at")},
    **{("", name): _is_document for name in ("card", "settings", "document")},
    **{("", name): words.__contains__ for name, words in _WORDS.items()},
    ("", "path"): _is_path,
    ("", "captured_at"): _is_exact,
    ("", "time_zone"): _like(r"[A-Za-z0-9_+:/-]{1,64}"),
    ("", "clock_doubt"): _like(r"[a-z0-9_]+(,[a-z0-9_]+)*"),
    ("", "rank"): _like(r"[a-z ]+"),
    ("", "digest"): _DIGEST,
    ("configuration", "digest"): _like(r"\S.*"),
    ("", "image_digest"): _like("([0-9a-f]{32,64})?"),
    ("", "sha256"): _like(r"[0-9a-f]{64}(\+[0-9a-f]{64})?|lost \d+"),
    ("", "log_probabilities"): _is_log_probabilities,
    ("", "scene"): lambda value: isinstance(value, bytes) and len(value) == 192,
    ("", "latitude"): _between(-90, 90),
    ("", "longitude"): _between(-180, 180),
    ("", "temperature_c"): _between(-300, 1000),
    ("", "classified_by"): _like(r"(?s)\S.*"),
    ("", "name"): _like(r"(?s).+"),
    ("", "taxon"): _like(r"\w.*"),
    ("deployment", "id"): _like(r"(?s).+"),
    ("run", "configuration"): _ID,
    ("file", "mtime_ns"): _between(-(2**63), 2**63),
}  # fmt: skip
# What stands for a needed value that is lost, where the row is worth having without it.
_STAND_INS: dict[tuple[str, str], Value] = {
    ("model", "card"): "{}",
    ("model", "version"): "",
    ("run", "settings"): "{}",
    ("run", "started_at"): UNKNOWN_TIME,
    ("run", "software_version"): "",
    ("media", "received_at"): iso_utc(now()),  # an earlier one could let `prune` delete the frame
    ("media", "bytes"): 0,
    ("media", "attempts"): 1,
    ("file", "seen_at"): UNKNOWN_TIME,
    ("file", "bytes"): 0,
    ("file", "mtime_ns"): 0,
    ("observation", "classified_at"): UNKNOWN_TIME,
    ("observation", "classified_by"): "a name that could not be read",
    ("correction", "at"): UNKNOWN_TIME,
    ("correction", "by"): "a name that could not be read",
    ("retime", "at"): UNKNOWN_TIME,
    ("retime", "by"): "a name that could not be read",
    ("pin", "at"): UNKNOWN_TIME,
    ("pin", "by"): "a name that could not be read",
}
