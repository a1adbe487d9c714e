"""kill -9 at random moments while a database of version 1 is brought to the newest schema."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from edge.database.migrations import VERSION_1
from edge.database.schema import NEWEST
from tests.support.places import REPOSITORY
from tests.support.requirements import LONG

KILLS = 50 if LONG else 5
FRAMES = 100_000 if LONG else 5_000
_OPEN = (
    "import sys; from pathlib import Path; from edge.database.schema import open_database as o; o(Path(sys.argv[1]))"
)
_TABLES = ("media", "file", "observation", "candidate", "event", "event_media", "heartbeat", "retime")
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of version 1 with frames, decisions, labels of people, candidates and events."""
    path = tmp_path_factory.mktemp("version-1") / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1 + "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
        numbers = [(number,) for number in range(1, FRAMES + 1)]
        connection.execute("INSERT INTO model VALUES (1, ?, 'made', '1', '{}')", ("0" * 64,))
        connection.execute("INSERT INTO run VALUES (1, '2026-01-01T00:00:00.000Z', '0.1.0', 1, '{}', NULL)")
        connection.executemany(
            "INSERT INTO media (id, path, digest, bytes, received_at, status)"
            " SELECT ?1, printf('/a/%d.jpg', ?1), printf('%040x', ?1), 1, '', 'classified'",
            numbers,
        )
        connection.executemany("INSERT INTO file SELECT printf('/a/%d.jpg', ?1), 1, 1, ?1, '', NULL", numbers)
        connection.executemany(
            "INSERT INTO observation (media, run, model, kind, taxon, method, classified_by, classified_at,"
            " log_probabilities) VALUES (?, 1, 1, 'animal', 'Mammalia', 'machine', 'made 1', '', zeroblob(40))",
            numbers,
        )
        connection.executemany(
            "INSERT INTO observation (media, kind, taxon, method, classified_by, classified_at)"
            " VALUES (?, 'animal', 'Panthera leo', 'human', 'Ana', '')",
            numbers[::9],
        )
        connection.execute("INSERT INTO candidate SELECT id, 1, 'Mammalia', 'class', 0.5 FROM observation")
        connection.executemany(
            'INSERT INTO event (id, kind, start, "end", media_count, method)'
            " VALUES (?, 'animal', '', '', 1, 'machine')",
            numbers[::7],
        )
        connection.execute("INSERT INTO event_media SELECT id, id FROM event")
        connection.execute("INSERT INTO retime VALUES ('a', 60, '2026', 'Ana', NULL)")
        connection.commit()
    return path


def contents(path: Path, columns: dict[str, str]) -> Rows:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {table: connection.execute(f"SELECT {columns[table]} FROM {table}").fetchall() for table in _TABLES}


def start(path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", _OPEN, str(path)], env=environment)


def test_a_migration_that_is_killed_at_random_moments(tmp_path: Path, old: Path) -> None:
    """After each kill the next start ends with a whole database, and the copy holds the database as it was."""
    with closing(sqlite3.connect(old)) as connection:
        columns = {
            table: ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({table})"))
            for table in _TABLES
        }
    before = contents(old, columns)
    path = tmp_path / "d.db"
    chance = random.Random(7)
    states: dict[str, int] = {}
    began = monotonic()
    for number in range(KILLS + 1):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        shutil.copyfile(old, path)
        process = start(path)
        if number == 0:  # how long it takes when nobody kills it
            assert process.wait(600) == 0
            takes_s = monotonic() - began
            continue
        threading.Event().wait(chance.uniform(0.1, 1.0) * takes_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        state = _state(path)
        states[state] = states.get(state, 0) + 1
        again = start(path)
        assert again.wait(600) == 0, (number, state)
        copy = path.with_name(f"d.db.before-{NEWEST}")
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(("-wal", "-shm"))) == [
            "d.db",
            copy.name,
        ], (number, state)
        assert contents(path, columns) == before, (number, state)
        assert contents(copy, columns) == before, (number, state)
        for database, version in ((path, NEWEST), (copy, 1)):
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA user_version").fetchone() == (version,), (number, state)
    print(f"migration of {FRAMES} frames killed {KILLS} times, {takes_s:.1f} s each: {states}")


def _state(path: Path) -> str:
    """How far the killed process had come, from the files that it left."""
    copy = path.with_name(f"d.db.before-{NEWEST}")
    if copy.with_name(f"{copy.name}.part").exists():
        return "copying"
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return "done" if version == NEWEST else "copied" if copy.exists() else "not begun"


@pytest.mark.parametrize("left", ["half a copy", "a copy and half a second one", "a copy with other rows"])
def test_what_a_killed_process_left_never_counts_as_the_copy(tmp_path: Path, old: Path, left: str) -> None:
    path = tmp_path / "d.db"
    shutil.copyfile(old, path)
    copy = path.with_name(f"d.db.before-{NEWEST}")
    half = old.read_bytes()[: old.stat().st_size // 2]
    if left == "half a copy":
        copy.with_name(f"{copy.name}.part").write_bytes(half)
        copy.with_name(f"{copy.name}.part-journal").write_bytes(half[:5000])
    else:
        shutil.copyfile(old, copy)
        copy.with_name(f"{copy.name}.new.part").write_bytes(half)
    if left == "a copy with other rows":
        with closing(sqlite3.connect(path)) as connection:  # what version 0.1.0 wrote after the copy was put back
            connection.execute("INSERT INTO heartbeat (at) VALUES ('2026')")
            connection.commit()
    process = start(path)
    assert process.wait(600) == 0
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM media").fetchone() == (FRAMES,)
        beats = connection.execute("SELECT count(*) FROM heartbeat").fetchone()[0]
    older = copy.with_name(f"{copy.name}.1")
    assert (beats, older.exists()) == ((1, True) if left == "a copy with other rows" else (0, False))
    assert not list(tmp_path.glob("*.part*"))
    assert not list(tmp_path.glob("*.new"))


def test_two_processes_that_migrate_at_once(tmp_path: Path, old: Path) -> None:
    path = tmp_path / "d.db"
    shutil.copyfile(old, path)
    both = [start(path), start(path)]
    assert [process.wait(600) for process in both] == [0, 0]
    for database, version in ((path, NEWEST), (path.with_name(f"d.db.before-{NEWEST}"), 1)):
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)
            assert connection.execute("SELECT count(*) FROM media").fetchone() == (FRAMES,)
    assert not list(tmp_path.glob("*.part*"))
