"""What people and bad luck do to the database: old copies put back, logs that are not its own, repairs broken off."""

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

from tests.faults.test_disk import mounted, needs_root, needs_strace
from tests.support.daemon_process import REPOSITORY, Box, Tally, digest, wait_until

_INDEXED_OTHERWISE = """
SELECT count(*) FROM media NOT INDEXED WHERE status = 'classified'
UNION SELECT count(*) FROM media INDEXED BY media_digest WHERE status = 'classified'
"""


def _companions(database: Path) -> list[Path]:
    return [Path(f"{database}{end}") for end in ("", "-wal", "-shm")]


def _write(box: Box, frames: list[bytes], first: int, count: int) -> set[str]:
    box.captures.mkdir(exist_ok=True)
    for number, data in enumerate(frames[first : first + count], first):
        (box.captures / f"{number:04}.jpg").write_bytes(data)
    return {digest(data) for data in frames[first : first + count]}


@pytest.fixture
def many(frames: list[bytes]) -> list[bytes]:
    """Small frames, all different by the bytes after their end."""
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
    box = Box(tmp_path, tiny_model)
    whole = _write(box, many, 0, 40)
    box.start()
    box.wait_for(whole)
    old = tmp_path / "old.db"
    if way == "without its log":
        shutil.copyfile(box.database, old)
    else:
        command = [sys.executable, "-m", "edge.commands.db", "backup", str(old), "--db", str(box.database)]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": str(REPOSITORY)})
    # So many that the log was begun anew meanwhile: what it holds now does not fit what the old copy holds.
    later = 340 if way == "with the log of a newer one" else 60
    whole |= _write(box, many, 40, later)
    box.wait_for(whole)
    if way in ("killed", "its log alone", "with the log of a newer one"):
        box.kill()
    else:
        box.stop()
    if way == "its log alone":
        box.database.unlink()
    else:
        if way != "with the log of a newer one":
            for path in _companions(box.database):
                path.unlink(missing_ok=True)
        shutil.copyfile(old, box.database)  # people copy the one file that they see
    box.start()
    box.wait_for_word("INFO watching", 2)
    box.wait_for(whole)
    box.stop()
    assert box.query("PRAGMA integrity_check") == [("ok",)], box.log
    assert box.query(_INDEXED_OTHERWISE) == [(40 + later,)]
    report(Tally.of(f"older database put back, {way}", 1, whole, box))


@needs_root
def test_a_disk_that_is_full_when_the_daemon_starts(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model)
    whole = _write(box, many, 0, 10)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as state:
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        ballast = state / "ballast"
        for start, is_new in enumerate((True, False), 1):
            with pytest.raises(OSError, match="No space"):
                ballast.write_bytes(bytes(4_000_000))
            box.start()
            wait_until(lambda: box.has_ended, 30, box.log)
            assert box.process is not None
            assert box.process.returncode == 2
            assert len(box.log.splitlines()) <= 3 * start, box.log
            assert "Traceback" not in box.log, box.log
            ballast.unlink()
            if is_new:
                box.start()
                box.wait_for(whole)
                box.stop()
                whole |= _write(box, many, 10, 10)
        box.start()
        box.wait_for(whole)
        box.stop()
        report(Tally.of("a full disk at the start, new and old database", 2, whole, box))


def _damage(database: Path) -> bytes:
    content = bytearray(database.read_bytes())
    for start in range(4096 * 8, len(content), 4096 * 17):
        content[start : start + 4096] = bytes([0x55]) * 4096
    database.write_bytes(content)
    return bytes(content)


def _damaged(tmp_path: Path, tiny_model: Path, many: list[bytes]) -> tuple[Box, set[str], bytes]:
    box = Box(tmp_path, tiny_model)
    whole = _write(box, many, 0, 200)
    box.start()
    box.wait_for(whole)
    box.stop()
    return box, whole, _damage(box.database)


@pytest.mark.faults_long
def test_a_repair_that_is_killed_at_random_moments(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    box, whole, damaged = _damaged(tmp_path, tiny_model, many)
    kills = 40
    pause = threading.Event()
    struck = 0
    for number in range(kills):
        said = box.log.count("is damaged")
        box.start()
        wait_until(lambda: box.log.count("is damaged") > said or "a new one goes on" in box.log, 30, box.log)  # noqa: B023
        pause.wait(0.3 * number / kills)
        box.kill()
        struck += "a new one goes on" not in box.log
        kept = [path for path in tmp_path.iterdir() if path.is_file() and path.read_bytes() == damaged]
        assert kept, f"after kill {number} the damaged database is gone"
    watched = box.log.count("INFO watching")
    box.start()
    box.wait_for_word("INFO watching", watched + 1)
    box.wait_for(whole)
    box.stop()
    assert box.query("PRAGMA integrity_check") == [("ok",)]
    assert not [path.name for path in tmp_path.iterdir() if "salvag" in path.name], "a killed repair left something"
    report(Tally.of("repair of a damaged database, killed", kills, whole, box, f"{struck} before the repair's end"))


@pytest.mark.faults_long
@needs_strace
def test_a_repair_that_is_killed_at_each_step(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """Killed at every renaming: the damaged file goes aside and the new one comes into its place."""
    first, whole, damaged = _damaged(tmp_path, tiny_model, many)
    steps = 0
    while True:
        box = Box(tmp_path / str(steps), tiny_model)
        box.folder.mkdir()
        box.database.write_bytes(damaged)
        box.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e",
                       f"inject=rename:signal=SIGKILL:when={steps + 1}"]  # fmt: skip
        box.start(watch=first.captures)
        wait_until(lambda: box.has_ended or "INFO watching" in box.log, 60, box.log)  # noqa: B023
        if not box.has_ended:
            box.kill(15)
            break
        steps += 1
        assert any(path.read_bytes() == damaged for path in box.folder.iterdir() if path.is_file())
        box.wrapper = ()
        box.start(watch=first.captures)
        box.wait_for_word("INFO watching")
        box.wait_for(whole)
        box.stop()
        assert box.query("PRAGMA integrity_check") == [("ok",)]
        assert any(path.read_bytes() == damaged for path in box.folder.iterdir() if path.is_file())
        assert not [path.name for path in box.folder.iterdir() if "salvag" in path.name]
        tally = Tally.of("repair of a damaged database, killed at each renaming", steps, whole, box)
        assert tally.is_clean
    assert steps >= 3
    report(tally)


@pytest.mark.faults_long
@needs_root
def test_a_damaged_database_on_a_disk_without_room_for_another(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    box, whole, damaged = _damaged(tmp_path, tiny_model, many)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", f"size={len(damaged) + 150_000}", "tmpfs") as state:
        shutil.move(box.database, state / "detections.db")
        for path in _companions(box.database):
            path.unlink(missing_ok=True)
        box.database.symlink_to(state / "detections.db")
        for _ in range(2):
            box.start()
            wait_until(lambda: box.has_ended, 60, box.log)
            assert "Traceback" not in box.log, box.log
            assert (state / "detections.db").read_bytes() == damaged
        subprocess.run(["mount", "-o", "remount,size=100m", str(state)], check=True)
        box.start()
        box.wait_for_word("INFO watching", 2)
        box.wait_for(whole)
        box.stop()
        assert any(path.read_bytes() == damaged for path in state.iterdir())
        report(Tally.of("damaged database on a full disk, then room", 1, whole, box))


@pytest.mark.faults_long
def test_readers_and_backups_beside_the_daemon(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """One reader that never ends, others that come and go, and a backup in the middle: nobody waits for anybody."""
    box = Box(tmp_path, tiny_model).start()
    whole = _write(box, many, 0, 10)
    box.wait_for(whole)
    end = threading.Event()
    longest: list[float] = []
    problems: list[str] = []

    def read_again_and_again() -> None:
        while not end.is_set():
            began = time.monotonic()
            try:
                box.query("SELECT count(*) FROM detections")
                longest.append(time.monotonic() - began)
            except sqlite3.Error as error:
                problems.append(str(error))

    with closing(sqlite3.connect(f"{box.database.as_uri()}?mode=ro", uri=True)) as patient:
        patient.execute("BEGIN")
        before = patient.execute("SELECT count(*) FROM media").fetchone()
        reader = threading.Thread(target=read_again_and_again)
        reader.start()
        whole |= _write(box, many, 10, 100)
        command = [
            sys.executable,
            "-m",
            "edge.commands.db",
            "backup",
            str(tmp_path / "copy.db"),
            "--db",
            str(box.database),
        ]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONPATH": str(REPOSITORY)})
        box.wait_for(whole)
        assert patient.execute("SELECT count(*) FROM media").fetchone() == before
        end.set()
        reader.join()
    assert not problems
    assert "trying again" not in box.log
    box.stop()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    report(Tally.of("readers and a backup beside the daemon", len(longest), whole, box,
                    f"slowest read {1000 * max(longest):.0f} ms"))  # fmt: skip


def test_a_database_inside_the_watched_folder(
    tmp_path: Path, tiny_model: Path, many: list[bytes], report: Callable[[Tally], None]
) -> None:
    """Where one changes into the folder and starts there; whoever opens and closes the files drops SQLite's locks."""
    box = Box(tmp_path, tiny_model)
    whole = _write(box, many, 0, 5)
    box.start("--poll", "0.5", "--heartbeat-s", "0.2", watch=tmp_path)
    box.wait_for_word("INFO watching")
    box.wait_for(whole)
    inode = Path(f"{box.database}-shm").stat().st_ino
    for first in range(5, 25, 5):
        whole |= _write(box, many, first, 5)
        box.wait_for(whole)
        assert box.process is not None
        held = [line for line in Path("/proc/locks").read_text("ascii").splitlines() if f":{inode} " in line]
        assert any(f" {box.process.pid} " in line for line in held), "the daemon has lost its lock"
    beats = "SELECT count(*) FROM heartbeat"
    seen = int(str(box.query(beats)[0][0]))
    wait_until(lambda: int(str(box.query(beats)[0][0])) > seen + 5, 30, "heartbeats")
    ours = "SELECT count(*) FROM media WHERE path LIKE '%detections.db%'"
    assert box.query(ours) == [(0,)], box.query("SELECT path FROM media")
    box.stop()
    report(Tally.of("database inside the watched folder", 5, whole, box))
