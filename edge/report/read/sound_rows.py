"""Rows of a database that no report can use: they are named and counted, and every query goes on without them.

SQLite stores any value in any column, and a database may come from anywhere. A report on a small database looks through
its rows first; on a large one, whose rows are read as fast as they can be, only when a row made it fail. What is found
is hidden by temporary views of the same names, which the read-only connection finds before the tables.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.host.one_line import one_line
from edge.vocabulary import BoxSource, DecisionReason, Kind, MediaStatus, Method

NAMED = 20
_NO_UTF8 = "no_utf8"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value must be."""

    column: str
    bad: str
    """SQL that is true for a value that cannot be used."""
    expected: str


def _words(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _text(*columns: str) -> list[Rule]:
    """Text, or nothing. SQLite also keeps what is no UTF-8."""
    return [Rule(c, f"{c} >= x'' OR {_no_utf8(c)}", "text") for c in columns]


def _no_utf8(column: str) -> str:
    return f"(typeof({column}) = 'text' AND {_NO_UTF8}(CAST({column} AS BLOB)))"


def _one_of(column: str, values: Iterable[str], null: bool = False) -> Rule:
    missing = "" if null else f"{column} IS NULL OR "
    return Rule(column, f"{missing}{column} NOT IN ({_words(values)})", f"one of {', '.join(values)}")


def _number(column: str, low: float, high: float) -> Rule:
    return Rule(column, f"{column} NOT BETWEEN {low} AND {high}", f"a number from {low:g} to {high:g}")


def _whole(column: str, low: int, high: int) -> Rule:
    wrong = f"{column} NOT BETWEEN {low} AND {high} OR {column} <> CAST({column} AS INTEGER)"
    return Rule(column, wrong, f"a whole number from {low} to {high}")


def _time(column: str) -> Rule:
    wrong = (
        f"{column} NOT BETWEEN '0001-01-03' AND '9999-12-29' OR substr({column}, 11, 1) NOT IN ('T', ' ')"
        f" OR strftime('%s', {column}) IS NULL OR date(substr({column}, 1, 10)) IS NOT substr({column}, 1, 10)"
    )
    return Rule(column, f"{column} IS NOT NULL AND ({wrong})", "a time such as 2026-05-01T06:00:00Z")


def _day(column: str) -> Rule:
    quoted = f'"{column}"'
    wrong = f"{quoted} NOT BETWEEN '0001-01-03' AND '9999-12-29' OR date(substr({quoted}, 1, 10)) IS NULL"
    return Rule(quoted, f"{quoted} IS NOT NULL AND ({wrong})", "a date such as 2026-05-01")


def _row_of(column: str, table: str) -> Rule:
    missing = f"NOT EXISTS (SELECT 1 FROM {table} other WHERE other.id = t.{column})"
    return Rule(column, f"{column} IS NOT NULL AND {missing}", f"a row of {table}")


_BOX = ("box_x", "box_y", "box_width", "box_height")
_MISSING_SIDES = " + ".join(f"({side} IS NULL)" for side in _BOX)
_A_THOUSANDTH = 0.001  # sums of probabilities are a little off
VIEW_NAMES = ("effective_observation", "detections", "species_summary")
RULES: dict[str, tuple[str, list[Rule]]] = {
    "deployment": (
        "id",
        [
            Rule("id", "id IS NULL", "text"),
            *_text("id"),
            _number("latitude", -90, 90),
            _number("longitude", -180, 180),
            *_text("time_zone"),
            _day("start"),
            _day("end"),
        ],
    ),
    "run": ("id", [*_text("settings"), _row_of("model", "model"), _row_of("configuration", "configuration")]),
    "pin": ("id", [_row_of("model", "model"), _row_of("configuration", "configuration")]),
    "media": (
        "id",
        [
            Rule("id", f"id NOT BETWEEN 1 AND {2**62}", "a number from 1"),
            Rule("path", f"path < '' OR path IN ('', x'') OR {_no_utf8('path')}", "a path"),
            *_text("digest", "clock_doubt", "deployment", "time_zone", "reason"),
            Rule("digest", "status = 'classified' AND coalesce(digest, '') = ''", "a digest"),
            _time("captured_at"),
            _time("received_at"),
            _one_of("status", MediaStatus),
            _whole("infrared", 0, 1),
        ],
    ),
    "observation": (
        "id",
        [
            Rule("id", f"id NOT BETWEEN 1 AND {2**62}", "a number from 1"),
            _row_of("media", "media"),
            _row_of("model", "model"),
            _row_of("configuration", "configuration"),
            _whole("revision", 0, 10**9),
            _whole("subject", 0, 10**9),
            _one_of("kind", Kind),
            _one_of("method", Method),
            _one_of("reason", DecisionReason, null=True),
            _one_of("box_source", BoxSource, null=True),
            *_text("taxon", "rank", "common_name", "life_stage", "sex", "behaviour", "individual_id", "note"),
            *_text("classified_by", "act"),
            Rule("taxon", "kind = 'animal' AND coalesce(taxon, '') = ''", "the name of a taxon"),
            Rule("classified_by", "classified_by IS NULL", "a model or a person"),
            _whole("count", 0, 1_000_000),
            _number("confidence", -_A_THOUSANDTH, 1 + _A_THOUSANDTH),
            *(_number(side, -0.5, 1.5) for side in _BOX),
            Rule(
                "box_x", f"{' + '.join(f'({side} IS NULL)' for side in _BOX)} NOT IN (0, 4)", "all four sides, or none"
            ),
            Rule("withdraws", "withdraws >= ''", "a number"),
            Rule(
                "log_probabilities",
                "log_probabilities < x'' OR length(log_probabilities) % 2",
                "numbers of two bytes each",
            ),
        ],
    ),
    "file": ("path", [Rule("path", f"path < '' OR {_no_utf8('path')}", "a path"), _row_of("media", "media")]),
    "candidate": (
        "observation, place",
        [
            _row_of("observation", "observation"),
            *_text("taxon", "rank"),
            Rule("taxon", "coalesce(taxon, '') = ''", "the name of a taxon"),
            Rule("probability", "probability IS NULL", "a number from 0 to 1"),
            _number("probability", -_A_THOUSANDTH, 1 + _A_THOUSANDTH),
        ],
    ),
    "event": (
        "id",
        [
            _one_of("kind", Kind),
            *_text("taxon", "rank"),
            _number("confidence", -_A_THOUSANDTH, 1 + _A_THOUSANDTH),
        ],
    ),
    "event_media": ("event, media", [_row_of("event", "event"), _row_of("media", "media")]),
    "heartbeat": (
        "at",
        [
            Rule("at", "at IS NULL", "a time"),
            _time("at"),
            _whole("free_bytes", 0, 2**60),
            _whole("clock_synchronised", 0, 1),
        ],
    ),
}


@dataclass(frozen=True, slots=True)
class BadRows:
    """The rows of one database that are left out."""

    total: int = 0
    named: tuple[str, ...] = ()
    thorough: bool = False
    """Whether all text was decoded, which takes most of the time."""


_found: dict[Path, BadRows] = {}


def find_bad_rows(connection: sqlite3.Connection, path: Path, thorough: bool) -> BadRows:
    """Check every row that reports read; from now on `hide_bad_rows` hides those that cannot be used."""
    named: list[str] = []
    total = 0
    _prepare(connection)
    for table, (key, rules) in RULES.items():
        which = f"CASE {' '.join(f'WHEN {rule.bad} THEN {place}' for place, rule in enumerate(rules))} END"
        columns = [*key.split(", "), *(rule.column for rule in rules)]
        query = f"FROM main.{table} t WHERE {which} IS NOT NULL"
        values = ", ".join(f"CAST({column} AS BLOB)" for column in columns)
        (number,) = connection.execute(_sql(f"SELECT count(*) {query}", thorough)).fetchone()
        total += number
        left = NAMED - len(named) if number else 0
        for place, *given in connection.execute(_sql(f"SELECT {which}, {values} {query} LIMIT ?", thorough), (left,)):
            shown, keys, rule = list(map(_shown, given)), key.count(",") + 1, rules[place]
            what = f"{rule.column.strip(chr(34))} is {shown[keys + place]}; expected {rule.expected}"
            named.append(f"{path.name}: {table} {', '.join(shown[:keys])}: {what}; the row is left out")
        _hide(connection, table, rules, thorough)  # rows that refer to this table's are checked against what is left
    _found[path] = BadRows(total, tuple(named), thorough)
    return _found[path]


def show_all_rows(path: Path) -> None:
    """Forget what was found: the next connections find every row."""
    _found.pop(path, None)


def hide_bad_rows(connection: sqlite3.Connection, path: Path) -> None:
    """Let the connection find none of the rows that `find_bad_rows` named."""
    found = _found.get(path, BadRows())
    if not found.total:
        return
    _prepare(connection)
    for table, (_, rules) in RULES.items():
        _hide(connection, table, rules, found.thorough)
    for name, sql in connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'view'").fetchall():
        if name in VIEW_NAMES:
            connection.execute(sql.replace("CREATE VIEW", "CREATE TEMP VIEW", 1))


def _hide(connection: sqlite3.Connection, table: str, rules: list[Rule], thorough: bool) -> None:
    bad = " OR ".join(f"({rule.bad})" for rule in rules)
    view = f"CREATE TEMP VIEW {table} AS SELECT * FROM main.{table} t WHERE ({bad}) IS NOT TRUE"
    connection.execute(_sql(view, thorough))


def _sql(query: str, thorough: bool) -> str:
    return query if thorough else query.replace(f"AND {_NO_UTF8}(", f"AND 0 AND {_NO_UTF8}(")


def _prepare(connection: sqlite3.Connection) -> None:
    connection.create_function(_NO_UTF8, 1, _is_no_utf8, deterministic=True)


def _is_no_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return True
    return False


def _shown(value: bytes | None) -> str:
    return "NULL" if value is None else repr(one_line(value.decode("utf-8", "backslashreplace"), 80))
