"""The database's disk: full at every write, failing, without room, turned read-only; the file taken away or damaged."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import LONG
from tests.support.daemon_process import Box, Tally, digest, wait_until

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the errors (apt-get install)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
FRAMES = 6


def _fill(box: Box, frames: list[bytes], first: int = 0, count: int = FRAMES) -> set[str]:
    box.captures.mkdir(parents=True, exist_ok=True)
    chosen = sorted(frames, key=len)[first : first + count]
    for number, data in enumerate(chosen):
        (box.captures / f"{first + number:03}.jpg").write_bytes(data)
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
        box = Box(tmp_path / str(first), tiny_model)
        whole = _fill(box, frames)
        files = [option for end in ("", "-wal", "-journal") for option in ("-P", f"{box.database}{end}")]
        box.wrapper = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e",
                       f"inject={call}:error={error}:when={first}..{first + 2}", *files]  # fmt: skip
        box.start()
        # A database that cannot even be opened ends the start with one line; whoever started it starts it again.
        wait_until(lambda: box.has_ended or whole <= set(box.classified()), 90, box.log)  # noqa: B023
        if box.has_ended:
            assert "Traceback" not in box.log, box.log
            refused += 1
            box.wrapper = ()
            box.start()
            box.wait_for(whole)
        box.kill(15)
        assert box.query("PRAGMA integrity_check") == [("ok",)]
        one = Tally.of(tally.attack, 1, whole, box)
        tally = Tally(tally.attack, tally.cases + 1, tally.survived + one.survived, tally.lost + one.lost,
                      tally.duplicated + one.duplicated, f"{refused} starts refused with one line")  # fmt: skip
    report(tally)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this host lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_root
def test_a_disk_that_fills_up_and_gets_room_again(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model)
    with mounted(tmp_path / "state", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as state:
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        ballast = state / "ballast"
        box.start()
        box.wait_for(_fill(box, frames))
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(4_000_000))
        whole = {digest(path.read_bytes()) for path in box.captures.iterdir()} | _fill(box, frames, FRAMES, 30)
        box.wait_for_word("trying again")
        box.wait_for_word("watching")
        ballast.unlink()
        box.wait_for(whole)
        assert box.log.count("trying again") == 1, box.log  # said once
        assert "writing again" in box.log
        box.stop()
        assert box.query("PRAGMA integrity_check") == [("ok",)]
        report(Tally.of("disk full, then room again", 1, whole, box))


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
        box = Box(tmp_path, tiny_model)
        (tmp_path / "detections.db").symlink_to(state / "detections.db")
        box.start()
        whole = _fill(box, frames)
        box.wait_for(whole)
        # What the kernel does by itself when a card fails.
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(state)], capture_output=True, text=True, check=True)
        trigger = Path("/sys/fs/ext4") / Path(source.stdout.strip()).name / "trigger_fs_error"
        trigger.write_text("a test", "ascii")
        whole |= _fill(box, frames, FRAMES, 10)
        box.wait_for_word("trying again")
        box.stop()  # it obeys although its frames wait
    subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True, check=False)
    with mounted(tmp_path / "state", "-o", "loop", str(image)):
        box.start()
        box.wait_for(whole)
        box.stop()
        report(Tally.of("database's file system read-only, repaired", 1, whole, box))


def test_the_room_that_is_kept_free(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model)
    whole = _fill(box, frames)
    box.start("--min-free-bytes", str(10**15))
    box.wait_for_word("min_free_bytes")
    assert box.classified() == []
    box.stop()
    box.start()
    box.wait_for(whole)
    box.stop()
    report(Tally.of("less room than min_free_bytes", 1, whole, box))


def test_a_database_removed_or_replaced_by_a_backup_while_in_use(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model)
    whole = _fill(box, frames)
    box.start()
    box.wait_for(whole)
    with closing(sqlite3.connect(box.database)) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        source.backup(copy)
    whole |= _fill(box, frames, FRAMES, 4)
    box.wait_for(whole)
    for end in ("", "-wal", "-shm"):
        Path(f"{box.database}{end}").unlink(missing_ok=True)
    whole |= _fill(box, frames, FRAMES + 4, 4)
    box.wait_for(whole)
    os.replace(tmp_path / "backup.db", box.database)
    for end in ("-wal", "-shm"):
        Path(f"{box.database}{end}").unlink(missing_ok=True)
    whole |= _fill(box, frames, FRAMES + 8, 4)
    box.wait_for(whole)
    box.stop()
    report(Tally.of("database removed, then a backup put back, both in use", 2, whole, box))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("header", marks=pytest.mark.faults_long),
        pytest.param("half", marks=pytest.mark.faults_long),
        "pages",
    ],
)
def test_a_damaged_database_is_set_aside_and_salvaged(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None], damage: str
) -> None:
    box = Box(tmp_path, tiny_model)
    box.captures.mkdir()
    smallest, whole = min(frames, key=len), set()
    for number in range(150):
        data = smallest + b"%d" % number
        (box.captures / f"{number:03}.jpg").write_bytes(data)
        whole.add(digest(data))
    box.start()
    box.wait_for(whole)
    box.stop()
    with closing(sqlite3.connect(box.database)) as connection, connection:
        connection.execute(
            "INSERT INTO observation (media, kind, taxon, rank, method, classified_by, classified_at) "
            "SELECT id, 'animal', 'Meles meles', 'species', 'human', 'a person', '2026-01-01' FROM media LIMIT 12"
        )
    content = bytearray(box.database.read_bytes())
    pages = range(4096 * 8, len(content), 4096 * 17)
    if damage == "header":
        content[:100] = bytes(100)
    elif damage == "half":
        content = content[: len(content) // 2]
    else:
        for start in pages:
            content[start : start + 4096] = random.Random(start).randbytes(4096)
    box.database.write_bytes(content)
    box.start()
    box.wait_for_word("INFO watching", 2)
    box.wait_for(whole)
    box.stop()
    assert "is damaged" in box.log
    (aside,) = [path for path in tmp_path.glob("detections.db.damaged-*") if path.name[-4:] not in ("-wal", "-shm")]
    assert aside.read_bytes() == bytes(content)
    assert box.query("PRAGMA integrity_check") == [("ok",)]
    people = box.query("SELECT count(*) FROM observation WHERE method = 'human'")[0][0]
    machine = [str(name) for (name,) in box.query(
        "SELECT m.digest FROM media m JOIN observation o ON o.media = m.id WHERE o.method = 'machine'")]  # fmt: skip
    lost, twice = len(whole - set(machine)), len(machine) - len(set(machine))
    saved = re.search(r"(\d+) frames and \d+ observations by people were saved", box.log)
    assert saved is not None
    assert int(saved[1]) > {"header": 149, "half": 10, "pages": 50}[damage]
    note = f"{saved[1]} of {len(whole)} frames and {people} of 12 observations by people saved, the rest seen again"
    report(Tally(f"database damaged ({damage})", 1, int(not lost + twice), lost, twice, note))
