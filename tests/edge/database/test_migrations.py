"""A database of version 1 becomes one of version 2 with the same rows, and the schema has the vocabularies' words."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.database import schema
from edge.database.migrations import VERSION_1
from edge.database.schema import NEWEST, SchemaError, open_database
from edge.vocabulary import BoxSource, DecisionReason, ImageDoubt, Kind, MediaStatus, Method

CHECKED = {
    ("media", "status"): MediaStatus,
    ("media", "image_doubt"): ImageDoubt,
    ("observation", "kind"): Kind,
    ("observation", "reason"): DecisionReason,
    ("observation", "box_source"): BoxSource,
    ("observation", "method"): Method,
}
FIRST = "0" * 64
RUNS: tuple[tuple[int, str, dict[str, Any]], ...] = (
    (1, FIRST, {}),
    (2, f"{FIRST}+{'1' * 64}", {"detector_sha256": "1" * 64, "thresholds": {"species": 0.5}}),
    (1, FIRST, {"second_look": False}),
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as version 0.1.0 wrote it: three runs, frames, a person's labels, an import's boxes, a retime."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1 + "PRAGMA user_version = 1;")
        for model, sha256 in ((1, FIRST), (2, RUNS[1][1])):
            card = '{"name": "made"}'
            connection.execute("INSERT INTO model VALUES (?, ?, 'made', '1', ?)", (model, sha256, card))
        for number, (model, _, settings) in enumerate(RUNS, 1):
            connection.execute(
                "INSERT INTO run VALUES (?, '2026-01-01T00:00:00.000Z', '0.1.0', ?, ?, NULL)",
                (number, model, json.dumps(settings)),
            )
        for media in range(1, 6):
            connection.execute(
                "INSERT INTO media (id, path, digest, bytes, received_at, status) "
                "VALUES (?, ?, ?, 1, '', 'classified')",
                (media, f"/a/{media}.jpg", f"{media:040x}"),
            )
            connection.execute("INSERT INTO file VALUES (?, 1, 1, ?, '', NULL)", (f"/a/{media}.jpg", media))
            _observe(connection, media, run=1, model=1, taxon="Mammalia")
        _observe(connection, 1, run=2, model=2, taxon="Bovidae")
        _observe(connection, 1, run=2, model=2, subject=1, taxon="Bovidae")
        _observe(connection, 3, method="human", classified_by="Ana", taxon="Panthera leo")
        _observe(connection, 3, method="human", classified_by="Ana", subject=1, taxon="Equus quagga")
        _observe(connection, 3, method="human", classified_by="Ben", taxon="Panthera pardus")
        _observe(connection, 4, subject=1, taxon="Animalia", box_source="imported")
        connection.execute("INSERT INTO candidate SELECT id, 1, 'Mammalia', 'class', 0.5 FROM observation")
        connection.execute("INSERT INTO event VALUES (1, 'a', 'animal', 'x', '', '', '', '', 1, 1, 1, '', 'machine')")
        connection.execute("INSERT INTO event_media VALUES (1, 1)")
        connection.execute("INSERT INTO retime VALUES ('a', 60, '2026', 'Ana', NULL)")
        connection.commit()
    return path


def _observe(connection: sqlite3.Connection, media: int, **columns: Any) -> None:
    values = {"kind": "animal", "method": "machine", "classified_by": "made 1", "classified_at": "", "media": media}
    values |= columns
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO observation ({names}) VALUES ({marks})", tuple(values.values()))


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of every table by the columns of version 1, but for what the migration translates."""
    with closing(sqlite3.connect(":memory:")) as first:
        first.executescript(VERSION_1)
        tables = [name for (name,) in first.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {t: [f'"{row[1]}"' for row in first.execute(f"PRAGMA table_info({t})")] for t in tables}
    columns["model"] = ["name", "version", "card"]
    columns["observation"].remove('"model"')
    columns["run"].remove('"model"')
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: sorted(set(connection.execute(f"SELECT {', '.join(names)} FROM {table}")), key=repr)
            for table, names in columns.items()
        }


def test_every_row_keeps_its_values(old: Path) -> None:
    before = contents(old)
    open_database(old).close()
    assert contents(old) == before
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert contents(old.with_name("old.db.before-2")) == before
    with closing(sqlite3.connect(old.with_name("old.db.before-2"))) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)


def test_what_the_runs_were_told_becomes_configurations_and_the_newest_one_is_pinned(old: Path) -> None:
    with closing(open_database(old)) as connection:
        documents = [json.loads(text) for (text,) in connection.execute("SELECT document FROM configuration")]
        detector = {"detector": "1" * 64, "thresholds": {"species": 0.5}}
        assert documents == [{}, detector, {"second_look": False}]
        assert connection.execute("SELECT sha256 FROM model").fetchall() == [(FIRST,)]
        assert connection.execute("SELECT model, configuration FROM run").fetchall() == [(1, 1), (1, 2), (1, 3)]
        assert connection.execute("SELECT model, configuration FROM pin").fetchall() == [(1, 3)]
        pairs = "SELECT DISTINCT model, configuration FROM observation WHERE method = 'machine' ORDER BY 1, 2"
        assert connection.execute(pairs).fetchall() == [(None, None), (1, 1), (1, 2)]


def test_a_persons_labels_are_one_act_and_the_newest_act_counts(old: Path) -> None:
    with closing(open_database(old)) as connection:
        query = "SELECT media, taxon, method FROM effective_observation ORDER BY media, id"
        assert connection.execute(query).fetchall() == [
            (1, "Bovidae", "machine"),  # nothing was classified under the pinned settings, so the newest other counts
            (2, "Mammalia", "machine"),
            (3, "Panthera pardus", "human"),
            (4, "Mammalia", "machine"),
            (5, "Mammalia", "machine"),
        ]
        acts = "SELECT act, line FROM observation WHERE method = 'human' ORDER BY id"
        assert connection.execute(acts).fetchall() == [("before-2: Ana", 0), ("before-2: Ana", 1), ("before-2: Ben", 0)]


def test_an_undo_withdraws_a_whole_act_and_a_redo_the_undo(old: Path) -> None:
    with closing(open_database(old)) as connection:

        def withdraw(row: int) -> int:
            values = (row, f"undo {row}")
            query = """INSERT INTO observation (media, kind, method, classified_by, classified_at, withdraws, act, line)
                VALUES (3, 'animal', 'human', 'Ana', '', ?, ?, 0)"""
            return int(connection.execute(query, values).lastrowid or 0)

        def counts() -> set[str]:
            return {t for (t,) in connection.execute("SELECT taxon FROM effective_observation WHERE media = 3")}

        rows = dict(connection.execute("SELECT taxon, id FROM observation WHERE media = 3"))
        undo = withdraw(rows["Panthera pardus"])
        assert counts() == {"Panthera leo", "Equus quagga"}
        second = withdraw(rows["Equus quagga"])
        assert counts() == {"Mammalia"}
        withdraw(second)
        assert counts() == {"Panthera leo", "Equus quagga"}
        withdraw(undo)
        assert counts() == {"Panthera pardus"}


def test_the_checks_of_the_migrated_schema_are_the_vocabularies(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "d.db")) as connection:
        found = {}
        for table in ("media", "observation"):
            (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            for column, words in re.findall(r"CHECK \((\w+) IN \(([^)]*)\)", sql):
                found[table, column] = re.findall(r"'(\w+)'", words)
    assert {key: set(words) for key, words in found.items()} == {key: set(enum) for key, enum in CHECKED.items()}


def test_a_migration_that_has_no_room_is_refused_and_changes_nothing(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr(schema, "disk_usage", lambda path: Full)
    before = contents(old)
    with pytest.raises(SchemaError, match="make room"):
        open_database(old)
    assert contents(old) == before
    assert not old.with_name("old.db.before-2").exists()


def test_a_migration_that_breaks_off_leaves_the_database_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)

    def broken(script: str) -> Iterator[str]:
        yield from list(statements(script))[:-1]
        yield "SELECT no_such_function()"

    statements = schema.statements
    with monkeypatch.context() as patched:
        patched.setattr(schema, "statements", broken)
        with pytest.raises(sqlite3.OperationalError):
            open_database(old)
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert contents(old) == before
    with closing(open_database(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (NEWEST,)
