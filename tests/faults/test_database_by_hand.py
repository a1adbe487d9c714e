"""What people do to the database with other programs while the daemon writes to it."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, wait_until
from tests.support.frame_load import FrameLoad
from tests.support.places import REPOSITORY
from tests.support.requirements import LONG
from tests.support.start_hook import start_hook

SEED = 22
ROUNDS = 60 if LONG else 4
TABLES = ("media", "file", "observation", "candidate", "run", "model", "configuration", "pin", "event", "heartbeat")
Act = Callable[[Path, random.Random], None]


def _sql(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database, timeout=20, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _remove(database: Path, chance: random.Random) -> None:
    for end in chance.choice((("",), ("", "-wal", "-shm"), ("-wal", "-shm", ""))):
        Path(f"{database}{end}").unlink(missing_ok=True)


def _replace(database: Path, chance: random.Random) -> None:
    young = database.with_name("backup.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(young)) as copy:
        source.backup(copy)
    if chance.random() < 0.5:
        for end in ("-wal", "-shm"):
            Path(f"{database}{end}").unlink(missing_ok=True)
    os.replace(young, database)


def _rename(database: Path, chance: random.Random) -> None:
    os.replace(database, database.with_name(f"aside-{chance.random()}.db"))


def _drop(database: Path, chance: random.Random) -> None:
    _sql(database, f"DROP TABLE {chance.choice(TABLES)}")


def _drop_column(database: Path, chance: random.Random) -> None:
    _sql(database, "DROP VIEW IF EXISTS species_summary", "DROP VIEW IF EXISTS detections")
    _sql(
        database, f"ALTER TABLE media DROP COLUMN {chance.choice(('time_source', 'image_doubt', 'scene', 'infrared'))}"
    )


def _drop_others(database: Path, chance: random.Random) -> None:
    _sql(database, "DROP VIEW IF EXISTS species_summary", "DROP VIEW IF EXISTS detections")
    _sql(database, f"DROP INDEX IF EXISTS {chance.choice(('media_digest', 'observation_machine', 'file_media'))}")


def _delete_rows(database: Path, chance: random.Random) -> None:
    _sql(database, f"DELETE FROM {chance.choice(TABLES)} WHERE rowid % {chance.choice((1, 3))} = 0")


def _delete_files(database: Path, chance: random.Random) -> None:
    _sql(database, f"DELETE FROM {chance.choice(('file', 'heartbeat'))}")


ACTS: tuple[Act, ...] = (_remove, _replace, _rename, _drop, _drop_column, _drop_others, _delete_rows, _delete_files)


def _logged(daemon: DaemonProcess) -> list[str]:
    try:
        return [str(name) for (name,) in daemon.query("SELECT digest FROM media WHERE status = 'classified'")]
    except sqlite3.DatabaseError:
        return []


def test_a_database_that_others_change_under_load(
    tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]
) -> None:
    chance = random.Random(SEED)
    environment = start_hook(tmp_path / "hook", {"edge.capture.watcher.RESCAN_S": 2})
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment).start("--heartbeat-s", "0.2")
    daemon.wait_for_log("INFO watching")
    load = FrameLoad(daemon.captures)
    done: list[str] = []
    with load.running():
        for number in range(ROUNDS):
            act = ACTS[number % len(ACTS)] if LONG else chance.choice(ACTS)
            before = len(load.whole)
            wait_until(lambda: len(load.whole) > before + 10, 30, "frames")  # noqa: B023
            with suppress(sqlite3.Error, OSError):
                act(daemon.database, chance)
                done.append(act.__name__)
            newest = len(load.whole)
            wait_until(lambda: len(load.whole) > newest + 10 or daemon.has_ended, 30, "frames")  # noqa: B023
            assert not daemon.has_ended, f"{done[-1:]}: {daemon.log[-3000:]}"
            young = set(list(load.whole)[newest : newest + 5])
            wait_until(lambda: young <= set(_logged(daemon)), 60, f"{done[-1:]}\n{daemon.log[-3000:]}")  # noqa: B023
    wait_until(lambda: set(load.whole) <= set(_logged(daemon)), 60, f"all frames\n{daemon.log[-3000:]}")
    logged = _logged(daemon)
    daemon.stop()
    assert "Traceback" not in daemon.log
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    lost, twice = len(set(load.whole) - set(logged)), len(logged) - len(set(logged))
    note = f"{len(load.whole)} frames in"
    report(Tally("database removed, replaced or changed by others under load", len(done), len(done), lost, twice, note))


def _once(daemon: DaemonProcess, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "edge.commands.classify", str(daemon.captures), "--model", str(daemon.model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [*command, *more], cwd=daemon.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("table", ["media", "observation", "run", "file"] if not LONG else TABLES)
def test_a_start_on_a_database_without_a_table(
    tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None], table: str
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    load = FrameLoad(daemon.captures)
    for _ in range(10):
        load.write_one()
    assert _once(daemon).returncode == 0
    _sql(daemon.database, f"DROP TABLE {table}")
    again = _once(daemon)
    assert (again.returncode, "Traceback" in again.stderr) == (0, False), again.stderr
    assert f"its table {table} is gone" in again.stderr
    load.write_one()
    daemon.start()
    daemon.wait_for(set(load.whole))
    daemon.stop()
    report(Tally.of(f"a start without the table {table}", 2, set(load.whole), daemon))


def test_rows_of_a_deleted_frame_are_not_given_to_the_next(tmp_path: Path, tiny_model: Path) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    load = FrameLoad(daemon.captures)
    for _ in range(4):
        load.write_one()
    assert _once(daemon).returncode == 0
    (newest,) = daemon.query("SELECT max(id) FROM media")[0]
    _sql(
        daemon.database,
        "INSERT INTO observation (media, kind, taxon, method, classified_by, classified_at, act, line) "
        f"VALUES ({newest}, 'animal', 'Panthera leo', 'human', 'Ana', '2026-01-01', 'one', 0)",
        "DELETE FROM observation WHERE method = 'machine'",
        f"DELETE FROM media WHERE id = {newest}",
    )
    (daemon.captures / "00003.jpg").unlink()
    load.write_one()
    assert _once(daemon).returncode == 0
    young = daemon.query("SELECT taxon, method FROM detections WHERE path LIKE '%00004.jpg'")
    assert [method for _, method in young] == ["machine"]
    assert ("Panthera leo", "human") not in young


def test_a_hard_link_is_no_second_database(tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    load = FrameLoad(daemon.captures)
    for _ in range(3):
        load.write_one()
    daemon.wait_for(set(load.whole))
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other.db"
    os.link(daemon.database, other)
    for command in (("--db", str(other)), ("--db", str(other), "--reclassify")):
        second = _once(daemon, *command)
        assert second.returncode == 2
        assert second.stderr.strip().count("\n") == 0, second.stderr
        assert "in use by another edge-classify under another name" in second.stderr
    assert {path.name for path in other.parent.iterdir()} <= {"other.db", "other.db.lock"}
    load.write_one()
    daemon.wait_for(set(load.whole))
    daemon.stop()
    report(Tally.of("a second start on a hard link of the database", 2, set(load.whole), daemon))
    assert _once(daemon, "--db", str(other)).returncode == 0  # nobody uses it now
