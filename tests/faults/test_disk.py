"""Attacks on the database's disk: full, failing, turned read-only; and its file removed, replaced or damaged."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until
from tests.support.requirements import LONG, mounted, needs_root, needs_strace, strace_injecting

FRAMES = 6


def _fill(daemon: DaemonProcess, frames: list[bytes], first: int = 0, count: int = FRAMES) -> set[str]:
    daemon.captures.mkdir(parents=True, exist_ok=True)
    chosen = sorted(frames, key=len)[first : first + count]
    for number, data in enumerate(chosen):
        (daemon.captures / f"{first + number:03}.jpg").write_bytes(data)
    return {digest(data) for data in chosen}


@needs_strace
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("pwrite64", "ENOSPC"),
        ("fdatasync", "EIO"),
        pytest.param("pwrite64", "EIO", marks=pytest.mark.faults_long),
        pytest.param("pread64", "EIO", marks=pytest.mark.faults_long),
    ],
)
def test_errors_at_every_call(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None], call: str, error: str
) -> None:
    """The n-th call on the database's files fails, with the two after it, then the disk works again."""
    every = range(1, 130 if call == "pwrite64" else 14)
    cases = list(every) if LONG else random.Random(call + error).sample(every, 1)
    tally = Tally(f"{error} at every {call}", 0, 0, 0, 0)
    refused = 0
    for first in cases:
        daemon = DaemonProcess(tmp_path / str(first), tiny_model)
        whole = _fill(daemon, frames)
        files = [option for end in ("", "-wal", "-journal") for option in ("-P", f"{daemon.database}{end}")]
        daemon.wrapper = strace_injecting(f"{call}:error={error}:when={first}..{first + 2}", "--seccomp-bpf", *files)
        daemon.start()
        # A database that cannot even be opened ends the start with one line; whoever started it starts it again.
        wait_until(lambda: daemon.has_ended or whole <= set(daemon.classified()), 90, daemon.log)  # noqa: B023
        if daemon.has_ended:
            assert "Traceback" not in daemon.log, daemon.log
            refused += 1
            daemon.wrapper = ()
            daemon.start()
            daemon.wait_for(whole)
        daemon.kill(15)
        assert daemon.query("PRAGMA integrity_check") == [("ok",)]
        one = Tally.of(tally.attack, 1, whole, daemon)
        tally = replace(
            tally,
            cases=tally.cases + 1,
            survived=tally.survived + one.survived,
            lost=tally.lost + one.lost,
            duplicated=tally.duplicated + one.duplicated,
        )
    report(replace(tally, note=f"{refused} starts refused with one line"))


@needs_root
def test_a_disk_that_fills_up_and_gets_room_again(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as state:
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        ballast = state / "ballast"
        daemon.start()
        daemon.wait_for(_fill(daemon, frames))
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(4_000_000))
        whole = {digest(path.read_bytes()) for path in daemon.captures.iterdir()} | _fill(daemon, frames, FRAMES, 30)
        daemon.wait_for_log("trying again")
        daemon.wait_for_log("watching")
        ballast.unlink()
        daemon.wait_for(whole)
        assert daemon.log.count("trying again") == 1, daemon.log  # logged once
        assert "writing again" in daemon.log
        daemon.stop()
        assert daemon.query("PRAGMA integrity_check") == [("ok",)]
        report(Tally.of("disk full, then room again", 1, whole, daemon))


@pytest.mark.faults_long
@needs_root
def test_a_file_system_turned_read_only_and_back(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(30_000_000)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not here")
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(tmp_path / "state", "-o", "loop,errors=remount-ro", str(image)) as state:
        daemon = DaemonProcess(tmp_path, tiny_model)
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        daemon.start()
        whole = _fill(daemon, frames)
        daemon.wait_for(whole)
        # What the kernel does by itself when a card fails.
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(state)], capture_output=True, text=True, check=True)
        trigger = Path("/sys/fs/ext4") / Path(source.stdout.strip()).name / "trigger_fs_error"
        trigger.write_text("a test", "ascii")
        whole |= _fill(daemon, frames, FRAMES, 10)
        daemon.wait_for_log("trying again")
        daemon.stop()  # it ends although its frames wait
    subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True, check=False)
    with mounted(tmp_path / "state", "-o", "loop", str(image)):
        daemon.start()
        daemon.wait_for(whole)
        daemon.stop()
        report(Tally.of("database's file system read-only, repaired", 1, whole, daemon))


def test_the_room_that_is_kept_free(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _fill(daemon, frames)
    daemon.start("--min-free-bytes", str(10**15))
    daemon.wait_for_log("min_free_bytes")
    assert daemon.classified() == []
    daemon.stop()
    daemon.start()
    daemon.wait_for(whole)
    daemon.stop()
    report(Tally.of("less room than min_free_bytes", 1, whole, daemon))


def test_a_database_removed_or_replaced_by_a_backup_while_in_use(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    whole = _fill(daemon, frames)
    daemon.start()
    daemon.wait_for(whole)
    with closing(sqlite3.connect(daemon.database)) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        source.backup(copy)
    whole |= _fill(daemon, frames, FRAMES, 4)
    daemon.wait_for(whole)
    for end in ("", "-wal", "-shm"):
        Path(f"{daemon.database}{end}").unlink(missing_ok=True)
    whole |= _fill(daemon, frames, FRAMES + 4, 4)
    daemon.wait_for(whole)
    os.replace(tmp_path / "backup.db", daemon.database)
    for end in ("-wal", "-shm"):
        Path(f"{daemon.database}{end}").unlink(missing_ok=True)
    whole |= _fill(daemon, frames, FRAMES + 8, 4)
    daemon.wait_for(whole)
    daemon.stop()
    report(Tally.of("database removed, then a backup put back, both in use", 2, whole, daemon))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("header", marks=pytest.mark.faults_long),
        pytest.param("cut off", marks=pytest.mark.faults_long),
        "pages",
    ],
)
def test_a_damaged_database_is_set_aside_and_salvaged(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None], damage: str
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    smallest, whole = min(frames, key=len), set()
    for number in range(150):
        data = smallest + b"%d" % number
        (daemon.captures / f"{number:03}.jpg").write_bytes(data)
        whole.add(digest(data))
    daemon.start()
    daemon.wait_for(whole)
    daemon.stop()
    with closing(sqlite3.connect(daemon.database)) as connection, connection:
        connection.execute(
            "INSERT INTO observation (media, kind, taxon, rank, method, classified_by, classified_at) "
            "SELECT id, 'animal', 'Meles meles', 'species', 'human', 'a person', '2026-01-01' FROM media LIMIT 12"
        )
    content = bytearray(daemon.database.read_bytes())
    pages = range(4096 * 8, len(content), 4096 * 17)
    if damage == "header":
        content[:100] = bytes(100)
    elif damage == "cut off":
        content = content[: len(content) * 3 // 4]  # the first half of so small a file holds hardly any row
    else:
        for start in pages:
            content[start : start + 4096] = random.Random(start).randbytes(4096)
    daemon.database.write_bytes(content)
    daemon.start()
    daemon.wait_for_log("INFO watching", 2)
    daemon.wait_for(whole)
    daemon.stop()
    assert "is damaged" in daemon.log
    (aside,) = [path for path in tmp_path.glob("detections.db.damaged-*") if path.name[-4:] not in ("-wal", "-shm")]
    assert aside.read_bytes() == bytes(content)
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    people = daemon.query("SELECT count(*) FROM observation WHERE method = 'human'")[0][0]
    by_machine = "SELECT m.digest FROM media m JOIN observation o ON o.media = m.id WHERE o.method = 'machine'"
    machine = [str(name) for (name,) in daemon.query(by_machine)]
    lost, twice = len(whole - set(machine)), len(machine) - len(set(machine))
    saved = re.search(r"(\d+) frames and \d+ observations by people were saved", daemon.log)
    assert saved is not None
    assert int(saved[1]) > {"header": 149, "cut off": 10, "pages": 50}[damage]
    note = f"{saved[1]} of {len(whole)} frames and {people} of 12 observations by people saved, the rest seen again"
    report(Tally(f"database damaged ({damage})", 1, int(not lost + twice), lost, twice, note))
