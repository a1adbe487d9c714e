"""Attacks on the files: reads that fail, files that grow, shrink and move while they are read, wrong clocks."""

import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import Burst, DaemonProcess, Tally, digest, wait_until
from tests.support.fuse_window import fuse_window
from tests.support.requirements import LONG, needs_root, needs_strace
from tests.support.start_hook import start_hook


@needs_root
def test_a_card_that_fails_to_give_its_bytes_for_a_while(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    behind, fails = tmp_path / "behind", tmp_path / "fails"
    behind.mkdir()
    burst.write(behind, 8)
    for number, path in enumerate(sorted(behind.iterdir())):
        if number % 2:
            path.rename(behind / f"bad{number}.jpg")
    fails.touch()
    # Without the hook the folder is looked through every ten minutes.
    environment = start_hook(tmp_path / "hook", {"edge.capture.watcher.RESCAN_S": 3})
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment)
    daemon.captures.mkdir()
    good = {digest(path.read_bytes()) for path in behind.glob("IMG*")}
    with fuse_window(behind, daemon.captures, fails):
        daemon.start("--give-up-s", "2", "--poll", "1")
        daemon.wait_for(good)
        bad = "SELECT status, reason, digest, attempts > 0 FROM media WHERE path LIKE '%/bad%'"
        wait_until(lambda: daemon.query(bad) == [("unreadable", "corrupt", None, 1)] * 4, 30, "the reason to be logged")
        assert set(daemon.classified()) == good
        assert "Input/output error" in daemon.log + (tmp_path / "daemon.out").read_text("utf-8"), daemon.log
        fails.unlink()
        daemon.wait_for(burst.whole)
        daemon.stop()
        assert daemon.query("SELECT count(*) FROM media WHERE status <> 'classified'") == [(0,)]
        report(Tally.of("EIO from half of a card's frames, then none", 4, burst.whole, daemon))


@pytest.mark.faults_long
def test_a_folder_renamed_in_mid_burst(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    """Cameras and people rename folders while frames come. The files that are open for writing move with them."""
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    daemon.wait_for_log("INFO watching")
    folder = daemon.captures / "100CANON"
    folder.mkdir()
    for number in range(8):
        burst.write(folder, 2)
        half = burst.take()
        with (folder / f"open{number}.jpg").open("wb") as file:
            file.write(half[: len(half) // 2])
            file.flush()
            folder = folder.rename(daemon.captures / f"{101 + number}CANON")
            file.write(half[len(half) // 2 :])
        burst.write(folder, 2)
    daemon.wait_for(burst.whole)
    folder.rename(daemon.captures / "last")
    where = f"SELECT count(*) FROM media WHERE path LIKE '{daemon.captures}/last/%'"
    wait_until(lambda: daemon.query(where) == [(40,)], 60, "the last name")
    daemon.stop()
    report(Tally.of("a folder renamed in mid-burst", 9, burst.whole, daemon))


def test_files_that_grow_shrink_and_swap_while_they_are_read(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    daemon.wait_for_log("INFO watching")
    chance = random.Random(5)
    chosen = sorted(frames, key=len)[:40]
    whole: set[str] = set()
    pause = threading.Event()

    def write_slowly(number: int, data: bytes) -> None:
        path = daemon.captures / f"slow{number}.jpg"
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(data), len(data) // 15 + 1):
                file.write(data[start : start + len(data) // 15 + 1])
                pause.wait(chance.uniform(0.0, 0.5))  # sometimes longer than the daemon waits for more bytes

    writers = []
    for number, data in enumerate(chosen[:10]):
        writers.append(threading.Thread(target=write_slowly, args=(number, data)))
        whole.add(digest(data))
        writers[-1].start()
    for number, data in enumerate(chosen[10:20]):  # some programs allocate the whole length first
        path = daemon.captures / f"allocated{number}.jpg"
        with path.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, len(data))
            pause.wait(0.2)
            file.write(data)
        whole.add(digest(data))
    first, second = daemon.captures / "first.jpg", daemon.captures / "second.jpg"
    for data, other in zip(chosen[20:30], chosen[30:], strict=True):
        first.write_bytes(data)
        second.write_bytes(other)
        whole |= {digest(data), digest(other)}
        daemon.wait_for({digest(data), digest(other)})
        first.rename(daemon.captures / "swap.tmp")
        second.rename(first)
        (daemon.captures / "swap.tmp").rename(second)
    for writer in writers:
        writer.join()
    daemon.wait_for(whole)
    for path in sorted(daemon.captures.glob("slow*.jpg")):  # cut in half after they were logged
        os.truncate(path, path.stat().st_size // 2)
    daemon.stop()
    daemon.start("--give-up-s", "1")
    cut = "SELECT count(*) FROM media WHERE status = 'unreadable' AND reason = 'truncated'"
    wait_until(lambda: daemon.query(cut) == [(10,)], 60, daemon.log)
    for number, data in enumerate(chosen[:10]):
        (daemon.captures / f"slow{number}.jpg").write_bytes(data)
    wait_until(lambda: daemon.query(cut) == [(0,)], 60, daemon.log)
    daemon.stop()
    report(Tally.of("files that grow, shrink and swap while they are read", 50, whole, daemon))


@pytest.mark.faults_long
def test_a_clock_that_jumps_while_the_daemon_runs(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    """A device without a battery for its clock starts in 1970 and learns the right time minutes later."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        pytest.skip("libfaketime sets the daemon's clock (apt-get install faketime)")
    clock = tmp_path / "clock"
    environment = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(clock)}
    switches = ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT")
    environment |= dict.fromkeys(switches, "1")
    jumps = ("-56y", "+0", "-3y", "+9y", "-400d", "+0")
    clock.write_text(jumps[0], "ascii")
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment).start("--heartbeat-s", "1")
    daemon.wait_for_log("INFO watching")
    for number, jump in enumerate(jumps):
        clock.write_text(jump, "ascii")
        burst.write(daemon.captures, 2)
        half = burst.take()
        path = daemon.captures / f"half{number}.jpg"
        path.write_bytes(half[: len(half) // 2])
        wait_until(lambda: bool(daemon.query(f"SELECT 1 FROM media WHERE path = '{path}'")), 30, daemon.log)  # noqa: B023
        assert digest(half) not in daemon.classified()
        path.write_bytes(half)
        daemon.wait_for(burst.whole, 30)
    years = daemon.query("SELECT count(DISTINCT substr(at, 1, 4)) FROM heartbeat")[0][0]
    daemon.stop()
    report(
        Tally.of(
            "the device's clock set back and forth", len(jumps), burst.whole, daemon, f"heartbeats of {years} years"
        )
    )


def test_ended_by_the_service_manager_in_mid_burst(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    chosen = sorted(frames, key=len)
    whole: set[str] = set()
    starts = 8 if LONG else 3
    for start in range(starts):
        daemon.start()
        daemon.wait_for_log("INFO watching", start + 1)
        for number, data in enumerate(chosen[10 * start : 10 * start + 10]):
            (daemon.captures / f"{start}{number}.jpg").write_bytes(data)
            whole.add(digest(data))
            if number == start:
                assert daemon.process is not None
                daemon.process.terminate()
        assert daemon.process is not None
        assert daemon.process.wait(60) == 0, daemon.log
        assert daemon.query("SELECT count(*) FROM run WHERE ended_at IS NULL") == [(0,)]
    daemon.start()
    daemon.wait_for(whole)
    daemon.stop()
    report(Tally.of("SIGTERM in mid-burst", starts, whole, daemon))


@pytest.mark.faults_long
def test_two_daemons_started_at_the_same_instant(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    rounds = 10
    daemon, other = DaemonProcess(tmp_path, tiny_model), DaemonProcess(tmp_path, tiny_model)
    for number in range(rounds):
        daemon.start()
        other.start()
        wait_until(lambda: daemon.has_ended or other.has_ended, 30, "one of them to refuse")
        burst.write(daemon.captures, 2)
        loser, winner = (daemon, other) if daemon.has_ended else (other, daemon)
        winner.wait_for(burst.whole)
        assert loser.process is not None
        assert loser.process.returncode == 2
        assert daemon.log.count("is in use by another edge-classify") == number + 1
        assert "Traceback" not in daemon.log
        winner.stop()
    report(Tally.of("two daemons started at the same instant", rounds, burst.whole, daemon))


@needs_strace
def test_a_start_reads_no_file_that_is_logged(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    chosen = sorted(frames, key=len)[:41]
    whole = {digest(data) for data in chosen}
    for number, data in enumerate(chosen[:40]):
        (daemon.captures / f"{number:02}.jpg").write_bytes(data)
    daemon.start()
    daemon.wait_for({digest(data) for data in chosen[:40]})
    daemon.stop()
    (daemon.captures / "new.jpg").write_bytes(chosen[40])
    (daemon.captures / "07.jpg").touch()  # its time has changed, its content has not
    trace = tmp_path / "trace"
    daemon.wrapper = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=openat", "-e", "signal=none"]
    daemon.start()
    daemon.wait_for(whole)
    assert daemon.process is not None
    daemon.kill(15)
    opened = re.findall(rf'"{re.escape(str(daemon.captures))}/([^"]+)"', trace.read_text("utf-8", "replace"))
    assert sorted(set(opened)) == ["07.jpg", "new.jpg"]
    report(Tally.of("start over logged files, two of 41 opened", 41, whole, daemon))


@pytest.mark.faults_long
@needs_root
def test_permission_that_is_denied_for_a_while(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if (
        shutil.which("setpriv") is None
        or subprocess.run([*nobody, sys.executable, "-c", "import edge"], capture_output=True, check=False).returncode
    ):
        pytest.skip("nobody without rights can run the daemon here")
    home = Path(tempfile.mkdtemp(prefix="edge-faults-", dir="/tmp"))  # other users cannot enter pytest's own folders
    try:
        model = home / "tiny.onnx"
        shutil.copyfile(tiny_model, model)
        shutil.copyfile(f"{tiny_model}.sha256", f"{model}.sha256")
        daemon = DaemonProcess(home, model, wrapper=nobody)
        closed = daemon.captures / "closed"
        closed.mkdir(parents=True)
        burst.write(daemon.captures, 4)
        burst.write(closed, 4)
        for path in (home, *home.rglob("*")):
            os.chown(path, 65534, 65534)
        locked = sorted(daemon.captures.glob("*.JPG"))[:2]
        for path in (*locked, closed):
            os.chown(path, 0, 0)
            path.chmod(0o700)
        daemon.start("--give-up-s", "1", "--poll", "0.5")
        daemon.wait_for_log("INFO watching")
        denied = "SELECT count(*) FROM media WHERE status = 'unreadable' AND reason = 'permission'"
        wait_until(lambda: daemon.query(denied) == [(2,)], 60, daemon.log)
        for path in (*locked, closed):
            path.chmod(0o755)
        daemon.wait_for(burst.whole)
        daemon.stop()
        assert daemon.query("SELECT count(*) FROM media WHERE status <> 'classified'") == [(0,)]
        report(Tally.of("two files and a folder without permission, then with", 3, burst.whole, daemon))
    finally:
        shutil.rmtree(home)


def test_heartbeats(tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]) -> None:
    """Heartbeats are written while the daemon is idle, while a file waits, and while the folder is gone."""
    daemon = DaemonProcess(tmp_path, tiny_model).start("--heartbeat-s", "0.3")
    daemon.wait_for_log("INFO watching")

    def beats(where: str) -> int:
        return int(str(daemon.query(f"SELECT count(*) FROM heartbeat WHERE {where}")[0][0]))

    wait_until(lambda: beats("backlog = 0 AND free_bytes > 0") >= 3, 30, "heartbeats of an idle device")
    half = burst.take()
    (daemon.captures / "half.jpg").write_bytes(half[:-100])
    wait_until(lambda: beats("backlog > 0") >= 1, 30, "a heartbeat with a backlog")
    daemon.captures.rename(tmp_path / "away")
    daemon.wait_for_log("waiting for")
    before = beats("1")
    wait_until(lambda: beats("1") > before + 3, 30, "heartbeats while the folder is away")
    (tmp_path / "away").rename(daemon.captures)
    (daemon.captures / "half.jpg").write_bytes(half)
    daemon.wait_for(burst.whole)
    daemon.stop()
    report(Tally.of("heartbeats while idle, waiting, without the folder", 3, burst.whole, daemon))
