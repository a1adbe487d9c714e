"""Attacks on the database: older copies put back, a write-ahead log of another copy, interrupted repairs."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until
from tests.support.places import REPOSITORY
from tests.support.requirements import mounted, needs_root, needs_strace, strace_injecting

_INDEXED_OTHERWISE = """
SELECT count(*) FROM media NOT INDEXED WHERE status = 'classified'
UNION SELECT count(*) FROM media INDEXED BY media_digest WHERE status = 'classified'
"""


def _companions(database: Path) -> list[Path]:
    return [Path(f"{database}{end}") for end in ("", "-wal", "-shm")]


def _write(daemon: DaemonProcess, frames: list[bytes], first: int, count: int) -> set[str]:
    daemon.captures.mkdir(exist_ok=True)
    for number, data in enumerate(frames[first : first + count], first):
        (daemon.captures / f"{number:04}.jpg").write_bytes(data)
    return {digest(data) for data in frames[first : first + count]}


def _back_up(database: Path, copy: Path) -> None:
    command = [sys.executable, "-m", "edge.commands.db", "backup", str(copy), "--db", str(database)]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": str(REPOSITORY)})


@pytest.fixture
def many(frames: list[bytes]) -> list[bytes]:
    """Small frames, each with other bytes after its end marker."""
    smallest = sorted(frames, key=len)[:4]
    return [smallest[number % 4] + b"%d" % number for number in range(400)]


@pytest.mark.parametrize(
    "way",
    [
        "clean",
        *(
            pytest.param(way, marks=pytest.mark.faults_long)
            for way in ("killed", "without its log", "its log alone", "with the log of a newer one")
        ),
    ],
)
def test_an_older_copy_put_back_while_the_daemon_is_stopped(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None], way: str
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _write(daemon, many, 0, 40)
    daemon.start()
    daemon.wait_for(whole)
    old = tmp_path / "old.db"
    if way == "without its log":
        shutil.copyfile(daemon.database, old)
    else:
        _back_up(daemon.database, old)
    # After so many frames the write-ahead log has started again, so it does not fit the older copy.
    later = 340 if way == "with the log of a newer one" else 60
    whole |= _write(daemon, many, 40, later)
    daemon.wait_for(whole)
    if way in ("killed", "its log alone", "with the log of a newer one"):
        daemon.kill()
    else:
        daemon.stop()
    if way == "its log alone":
        daemon.database.unlink()
    else:
        if way != "with the log of a newer one":
            for path in _companions(daemon.database):
                path.unlink(missing_ok=True)
        shutil.copyfile(old, daemon.database)  # people copy only the file that they see
    daemon.start()
    daemon.wait_for_log("INFO watching", 2)
    daemon.wait_for(whole)
    daemon.stop()
    assert daemon.query("PRAGMA integrity_check") == [("ok",)], daemon.log
    assert daemon.query(_INDEXED_OTHERWISE) == [(40 + later,)]
    report(Tally.of(f"older database put back, {way}", 1, whole, daemon))


@needs_root
def test_a_disk_that_is_full_when_the_daemon_starts(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _write(daemon, many, 0, 10)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as state:
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        ballast = state / "ballast"
        for start, is_new in enumerate((True, False), 1):
            with pytest.raises(OSError, match="No space"):
                ballast.write_bytes(bytes(4_000_000))
            daemon.start()
            wait_until(lambda: daemon.has_ended, 30, daemon.log)
            assert daemon.process is not None
            assert daemon.process.returncode == 2
            assert len(daemon.log.splitlines()) <= 3 * start, daemon.log
            assert "Traceback" not in daemon.log, daemon.log
            ballast.unlink()
            if is_new:
                daemon.start()
                daemon.wait_for(whole)
                daemon.stop()
                whole |= _write(daemon, many, 10, 10)
        daemon.start()
        daemon.wait_for(whole)
        daemon.stop()
        report(Tally.of("a full disk at the start, new and old database", 2, whole, daemon))


def _damage(database: Path) -> bytes:
    content = bytearray(database.read_bytes())
    for start in range(4096 * 8, len(content), 4096 * 17):
        content[start : start + 4096] = bytes([0x55]) * 4096
    database.write_bytes(content)
    return bytes(content)


def _damaged(tmp_path: Path, tiny_model: Path, many: list[bytes]) -> tuple[DaemonProcess, set[str], bytes]:
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _write(daemon, many, 0, 200)
    daemon.start()
    daemon.wait_for(whole)
    daemon.stop()
    return daemon, whole, _damage(daemon.database)


@pytest.mark.faults_long
def test_a_repair_that_is_killed_at_random_moments(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon, whole, damaged = _damaged(tmp_path, tiny_model, many)
    kills = 40
    pause = threading.Event()
    struck = 0
    for number in range(kills):
        said = daemon.log.count("is damaged")
        daemon.start()
        wait_until(lambda: daemon.log.count("is damaged") > said or "a new one goes on" in daemon.log, 30, daemon.log)  # noqa: B023
        pause.wait(0.3 * number / kills)
        daemon.kill()
        struck += "a new one goes on" not in daemon.log
        kept = [path for path in tmp_path.iterdir() if path.is_file() and path.read_bytes() == damaged]
        assert kept, f"after kill {number} the damaged database is gone"
    watched = daemon.log.count("INFO watching")
    daemon.start()
    daemon.wait_for_log("INFO watching", watched + 1)
    daemon.wait_for(whole)
    daemon.stop()
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    assert not [path.name for path in tmp_path.iterdir() if "salvag" in path.name], "a killed repair left something"
    report(Tally.of("repair of a damaged database, killed", kills, whole, daemon, f"{struck} before the repair's end"))


@pytest.mark.faults_long
@needs_strace
def test_a_repair_that_is_killed_at_each_step(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """The repair is killed at every rename: of the damaged file to another name, and of the new one to its place."""
    first, whole, damaged = _damaged(tmp_path, tiny_model, many)
    steps = 0
    while True:
        daemon = DaemonProcess(tmp_path / str(steps), tiny_model)
        daemon.folder.mkdir()
        daemon.database.write_bytes(damaged)
        daemon.wrapper = strace_injecting(f"rename:signal=SIGKILL:when={steps + 1}")
        daemon.start(watch=first.captures)
        wait_until(lambda: daemon.has_ended or "INFO watching" in daemon.log, 60, daemon.log)  # noqa: B023
        if not daemon.has_ended:
            daemon.kill(15)
            break
        steps += 1
        assert any(path.read_bytes() == damaged for path in daemon.folder.iterdir() if path.is_file())
        daemon.wrapper = ()
        daemon.start(watch=first.captures)
        daemon.wait_for_log("INFO watching")
        daemon.wait_for(whole)
        daemon.stop()
        assert daemon.query("PRAGMA integrity_check") == [("ok",)]
        assert any(path.read_bytes() == damaged for path in daemon.folder.iterdir() if path.is_file())
        assert not [path.name for path in daemon.folder.iterdir() if "salvag" in path.name]
        tally = Tally.of("repair of a damaged database, killed at each renaming", steps, whole, daemon)
        assert tally.is_clean
    assert steps >= 3
    report(tally)


@pytest.mark.faults_long
@needs_root
def test_a_damaged_database_on_a_disk_without_room_for_another(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon, whole, damaged = _damaged(tmp_path, tiny_model, many)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", f"size={len(damaged) + 150_000}", "tmpfs") as state:
        shutil.move(daemon.database, state / "detections.db")
        for path in _companions(daemon.database):
            path.unlink(missing_ok=True)
        daemon.database.symlink_to(state / "detections.db")
        for _ in range(2):
            daemon.start()
            wait_until(lambda: daemon.has_ended, 60, daemon.log)
            assert "Traceback" not in daemon.log, daemon.log
            assert (state / "detections.db").read_bytes() == damaged
        subprocess.run(["mount", "-o", "remount,size=100m", str(state)], check=True)
        daemon.start()
        daemon.wait_for_log("INFO watching", 2)
        daemon.wait_for(whole)
        daemon.stop()
        assert any(path.read_bytes() == damaged for path in state.iterdir())
        report(Tally.of("damaged database on a full disk, then room", 1, whole, daemon))


@pytest.mark.faults_long
def test_readers_and_backups_beside_the_daemon(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """A reader that never ends its transaction, short readers and a backup: none of them blocks another."""
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    whole = _write(daemon, many, 0, 10)
    daemon.wait_for(whole)
    end = threading.Event()
    longest: list[float] = []
    problems: list[str] = []

    def read_again_and_again() -> None:
        while not end.is_set():
            began = time.monotonic()
            try:
                daemon.query("SELECT count(*) FROM detections")
                longest.append(time.monotonic() - began)
            except sqlite3.Error as error:
                problems.append(str(error))

    with closing(sqlite3.connect(f"{daemon.database.as_uri()}?mode=ro", uri=True)) as reading:
        reading.execute("BEGIN")
        before = reading.execute("SELECT count(*) FROM media").fetchone()
        reader = threading.Thread(target=read_again_and_again)
        reader.start()
        whole |= _write(daemon, many, 10, 100)
        _back_up(daemon.database, tmp_path / "copy.db")
        daemon.wait_for(whole)
        assert reading.execute("SELECT count(*) FROM media").fetchone() == before
        end.set()
        reader.join()
    assert not problems
    assert "trying again" not in daemon.log
    daemon.stop()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    slowest = f"slowest read {1000 * max(longest):.0f} ms"
    report(Tally.of("readers and a backup beside the daemon", len(longest), whole, daemon, slowest))


def test_a_database_inside_the_watched_folder(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """The daemon watches the folder of its own database; if it opened the database's files it would drop its locks."""
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _write(daemon, many, 0, 5)
    daemon.start("--poll", "0.5", "--heartbeat-s", "0.2", watch=tmp_path)
    daemon.wait_for_log("INFO watching")
    daemon.wait_for(whole)
    inode = Path(f"{daemon.database}-shm").stat().st_ino
    for first in range(5, 25, 5):
        whole |= _write(daemon, many, first, 5)
        daemon.wait_for(whole)
        assert daemon.process is not None
        held = [line for line in Path("/proc/locks").read_text("ascii").splitlines() if f":{inode} " in line]
        assert any(f" {daemon.process.pid} " in line for line in held), "the daemon has lost its lock"
    beats = "SELECT count(*) FROM heartbeat"
    seen = int(str(daemon.query(beats)[0][0]))
    wait_until(lambda: int(str(daemon.query(beats)[0][0])) > seen + 5, 30, "heartbeats")
    ours = "SELECT count(*) FROM media WHERE path LIKE '%detections.db%'"
    assert daemon.query(ours) == [(0,)], daemon.query("SELECT path FROM media")
    daemon.stop()
    report(Tally.of("database inside the watched folder", 5, whole, daemon))
