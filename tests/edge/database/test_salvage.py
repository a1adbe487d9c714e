"""Salvage keeps the rows of databases of both versions, also when the page that says where the tables begin is lost."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.database.migrations import VERSION_1
from edge.database.repair.recovery import open_or_repair
from edge.database.repair.salvage import salvage
from edge.database.schema import NEWEST, open_database

FRAMES = 400
PAGE = 4096
_COMMON = (
    *("deployment", "model", "run", "media", "file", "observation", "candidate", "heartbeat", "pruned", "retime"),
    *("event", "event_media"),
)
_OF_VERSION_2 = ("configuration", "pin", "stale", "correction", "embedding")


def of_version_1(path: Path, frames: int = FRAMES) -> Path:
    """A database as 0.1.0 wrote it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1 + "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
        connection.execute("INSERT INTO deployment VALUES ('ridge', -1.5, 36.5, 'UTC', NULL, NULL, '/a')")
        for model, sha256 in ((1, "0" * 64), (2, "1" * 64)):
            connection.execute("INSERT INTO model VALUES (?, ?, 'made', '1', '{\"name\": \"made\"}')", (model, sha256))
            settings = '{"second_look": false}' if model == 2 else "{}"
            connection.execute(
                "INSERT INTO run VALUES (?, '2026-01-01T00:00:00.000Z', '0.1.0', ?, ?, NULL)", (model, model, settings)
            )
        for number in range(1, frames + 1):
            connection.execute(
                "INSERT INTO media (id, path, digest, bytes, received_at, status, deployment)"
                " VALUES (?, ?, ?, 1, '2026-01-01T00:00:00.000Z', 'classified', 'ridge')",
                (number, f"/a/{number}.jpg", f"{number:040x}"),
            )
            connection.execute("INSERT INTO file VALUES (?, 1, 1, ?, '2026', NULL)", (f"/a/{number}.jpg", number))
            for model in (1, 2):
                connection.execute(
                    "INSERT INTO observation (media, run, model, kind, taxon, method, classified_by, classified_at)"
                    " VALUES (?, ?, ?, 'animal', 'Mammalia', 'machine', 'made 1', '2026')",
                    (number, model, model),
                )
            if number % 5 == 0:
                connection.execute(
                    "INSERT INTO observation (media, kind, taxon, count, method, classified_by, classified_at)"
                    " VALUES (?, 'animal', 'Panthera leo', 2, 'human', 'Ana', '2026')",
                    (number,),
                )
        connection.execute("INSERT INTO candidate SELECT id, 1, 'Mammalia', 'class', 0.5 FROM observation")
        connection.execute("INSERT INTO heartbeat VALUES ('2026', 1, 2, 30.5, 1)")
        connection.execute("INSERT INTO pruned VALUES (1, '/a/1.jpg', '2026', 'keep-best 20')")
        connection.execute("INSERT INTO retime VALUES ('ridge', 60.5, '2026', 'Ana', 'why')")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def of_version_2(path: Path, vacuum: bool = False) -> Path:
    """The same after its migration, with rows of every kind that the new version has."""
    of_version_1(path)
    with closing(open_database(path)) as connection:
        fill(connection)
        if vacuum:
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def fresh(path: Path) -> Path:
    """A database that version 2 made itself."""
    with (
        closing(open_database(path)) as connection,
        closing(sqlite3.connect(of_version_1(path.with_name(f"{path.name}-1")))) as old,
    ):
        for table in ("deployment", "model", "run", "media", "file", "observation", "candidate", "heartbeat", "pruned"):
            rows = old.execute(f"SELECT * FROM {table}").fetchall()
            names = ", ".join(f'"{row[1]}"' for row in old.execute(f"PRAGMA table_info({table})"))
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute("UPDATE run SET configuration = 1")
        connection.execute("UPDATE observation SET configuration = 1 WHERE method = 'machine'")
        connection.execute("UPDATE observation SET act = 'x', line = 0 WHERE method = 'human'")
        connection.execute("INSERT INTO retime (deployment, shift_s, at, \"by\") VALUES ('ridge', 60.5, '2026', 'Ana')")
        fill(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def fill(connection: sqlite3.Connection) -> None:
    """Rows that version 2 alone has."""
    run = connection.execute
    run("INSERT INTO configuration (digest, document) VALUES ('abc', '{\"thresholds\": {\"species\": 0.5}}')")
    (configuration,) = run("SELECT max(id) FROM configuration").fetchone()
    run("INSERT INTO pin (model, configuration, at, \"by\") VALUES (1, ?, '2026', 'Ana')", (configuration,))
    run("INSERT INTO stale VALUES (7, 1, ?, 'burst'), (7, 2, 1, 'burst'), (8, 1, 1, 'static')", (configuration,))
    run("INSERT INTO correction (media, field, new, at, \"by\") VALUES (3, 'deployment', 'ridge', '2026', 'B')")
    run("INSERT INTO correction (media, field, new, at, \"by\", undoes) VALUES (3, 'deployment', 'x', '2026', 'B', 1)")
    run("INSERT INTO retime (deployment, shift_s, at, \"by\", undoes) VALUES (NULL, -60, '2026', 'Ana', 1)")
    run(
        "INSERT INTO observation (media, model, configuration, revision, revises, kind, method, classified_by,"
        " classified_at) VALUES (9, 1, ?, 1, 17, 'blank', 'machine', 'made 1', '2026')",
        (configuration,),
    )
    for line in range(2):
        run(
            "INSERT INTO observation (media, kind, taxon, sex, method, classified_by, classified_at, act, line)"
            " VALUES (11, 'animal', 'Meles meles', 'female', 'human', 'Ben', '2026', 'form 1', ?)",
            (line,),
        )
    (newest,) = run("SELECT max(id) FROM observation").fetchone()
    run(
        "INSERT INTO observation (media, kind, method, classified_by, classified_at, act, line, withdraws)"
        " VALUES (11, 'animal', 'human', 'Ben', '2026', 'undo', 0, ?)",
        (newest,),
    )
    run("INSERT INTO embedding VALUES (NULL, 1, 0, NULL, 'b', 0.5, x'00', NULL)")


def contents(path: Path, but: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [t for t in (*_COMMON, *_OF_VERSION_2) if t not in but]
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}


def check(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone() == (NEWEST,)


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "header":
        content[:100] = bytes(100)
    elif how == "first page":
        content[:PAGE] = random.Random(1).randbytes(PAGE)
    path.write_bytes(content)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "version 1": of_version_1,
    "migrated": of_version_2,
    "version 2": fresh,
    "vacuumed": lambda path: of_version_2(path, vacuum=True),
}


@pytest.mark.parametrize("how", ["healthy", "header", "first page"])
@pytest.mark.parametrize("made", MAKERS)
def test_every_row_is_kept_where_only_the_first_page_is_lost(tmp_path: Path, made: str, how: str) -> None:
    path = MAKERS[made](tmp_path / "d.db")
    whole = tmp_path / "whole.db"
    whole.write_bytes(path.read_bytes())
    damage(path, how)
    result = salvage(path, tmp_path / "out.db")
    open_database(whole, keep_copy=False).close()
    # The events of these rows are worked out anew, and there are none before.
    assert contents(tmp_path / "out.db", but=("event", "event_media")) == contents(whole, but=("event", "event_media"))
    check(tmp_path / "out.db")
    assert (result.frames, result.gaps) == (FRAMES, 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("made", MAKERS)
def test_broken_pages_cost_their_rows_and_nothing_else(tmp_path: Path, made: str, seed: int) -> None:
    path = MAKERS[made](tmp_path / "d.db")
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE
    for number in random.Random(seed).sample(range(30, pages), max(1, pages // 25)):
        content[number * PAGE : (number + 1) * PAGE] = random.Random(number).randbytes(PAGE)
    path.write_bytes(content)
    before = contents_by_id(MAKERS[made](tmp_path / "same.db"))
    open_or_repair(path).close()
    check(path)
    after = contents_by_id(path)
    assert set(after) <= set(before)
    assert len(after) > len(before) / 3
    assert all(after[key] == before[key] for key in after)


def contents_by_id(path: Path) -> dict[tuple[int, str, str], Any]:
    """What the frames show, by row."""
    open_database(path, keep_copy=False).close()
    query = "SELECT id, media, method, taxon, act, line, revision FROM observation"
    with closing(sqlite3.connect(path)) as connection:
        return {(id_, method, f"{media}"): rest for id_, media, method, *rest in connection.execute(query)}


def test_lost_models_and_configurations_stay_told_apart(tmp_path: Path) -> None:
    path = fresh(tmp_path / "d.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA foreign_keys = OFF; DELETE FROM model; DELETE FROM configuration; DELETE FROM pin"
        )
    result = salvage(path, tmp_path / "out.db")
    check(tmp_path / "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        machine = "SELECT count(*), count(DISTINCT model) FROM observation WHERE method = 'machine'"
        assert connection.execute(machine).fetchone() == (2 * FRAMES + 1, 2)
        assert connection.execute("SELECT count(*) FROM effective_observation").fetchone()[0] >= FRAMES
    assert result.frames == FRAMES


def test_labels_of_people_in_a_database_of_version_1_count_after_its_salvage(tmp_path: Path) -> None:
    salvage(of_version_1(tmp_path / "d.db"), tmp_path / "out.db")
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        query = "SELECT taxon, count(*) FROM detections GROUP BY taxon ORDER BY 1"
        assert connection.execute(query).fetchall() == [("Mammalia", FRAMES * 4 // 5), ("Panthera leo", FRAMES // 5)]
        documents = [text for (text,) in connection.execute("SELECT document FROM configuration ORDER BY id")]
        assert [json.loads(document) for document in documents] == [{}, {"second_look": False}]
