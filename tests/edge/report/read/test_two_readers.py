"""Two processes read one database, each its tables, while a third writes to it."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge.report.read import two_readers
from edge.report.read.two_readers import connect_with_help
from tests.support.database_by_hand import ByHand

WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
at = database.execute("SELECT max(id) FROM media").fetchone()[0]
print("writing", flush=True)
while True:
    at += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO media (id, path, digest, bytes, received_at, status) "
                     "VALUES (?, ?, ?, 1, '2026-01-01T00:00:00Z', 'classified')", (at, f"/{at}.jpg", str(at)))
    database.execute("INSERT INTO observation (media, kind, method, classified_by, classified_at) "
                     "VALUES (?, 'blank', 'human', 'A', '2026-01-01T00:00:00Z')", (at,))
    database.execute("COMMIT")
"""


def frames(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM media").fetchone()[0])


def observations(connection: sqlite3.Connection) -> tuple[int, int]:
    (count,) = connection.execute("SELECT count(*) FROM observation").fetchone()
    return count, os.getpid()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not hasattr(os, "fork"):
        pytest.skip("no processes are forked here")
    monkeypatch.setattr(two_readers, "processors", lambda: 2)
    monkeypatch.setattr(two_readers, "WORTH_A_PROCESS_BYTES", 0)
    made = ByHand(tmp_path / "d.db")
    made.frame(0, "lion")
    made.connection.close()
    return made.path


def test_both_see_one_state_while_a_daemon_writes(database: Path) -> None:
    seen, beside = [], 0
    with subprocess.Popen([sys.executable, "-c", WRITER, database], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline()
        for _ in range(20):
            with connect_with_help(database, observations) as (connection, said):
                seen.append(frames(connection))
                count, process = said()
            assert count == seen[-1]
            beside += process != os.getpid()
        writer.kill()
    assert seen[-1] > seen[0]  # it did write meanwhile
    assert beside >= 15  # and the helper was of use


def test_where_commits_never_pause_one_process_reads_all(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = iter(range(1000))
    monkeypatch.setattr(two_readers, "_data_version", lambda _: next(versions))
    with connect_with_help(database, observations) as (connection, said):
        assert said() == (frames(connection), os.getpid())


def test_a_helper_that_dies_is_done_without(database: Path) -> None:
    def dies(connection: sqlite3.Connection) -> tuple[int, int]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return observations(connection)

    here = os.getpid()
    with connect_with_help(database, dies) as (connection, said):
        assert said() == (frames(connection), here)


def test_a_small_database_is_read_by_one(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_readers, "WORTH_A_PROCESS_BYTES", database.stat().st_size + 1)
    with connect_with_help(database, observations) as (_, said):
        assert said()[1] == os.getpid()
