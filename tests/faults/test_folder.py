"""Attacks on the watched folder: lost or missing kernel events, a card pulled and put back, a renamed folder."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import Burst, DaemonProcess, Tally, wait_until
from tests.support.fuse_window import fuse_window
from tests.support.requirements import mounted, needs_root, user_namespace


def test_a_kernel_queue_that_overflows(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    burst.write(daemon.captures, 2)
    daemon.wait_for(burst.whole)
    assert daemon.process is not None
    length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    os.kill(daemon.process.pid, signal.SIGSTOP)
    noise = daemon.captures / ".noise.tmp"
    for _ in range(length):  # made and closed: two events that the queue cannot join into one
        noise.touch()
        noise.unlink()
    burst.write(daemon.captures, 10)
    os.kill(daemon.process.pid, signal.SIGCONT)
    daemon.wait_for(burst.whole)
    assert "may be lost" in daemon.log
    daemon.stop()
    report(Tally.of("inotify queue overflow", 1, burst.whole, daemon))


@pytest.mark.faults_long
def test_too_few_watches(tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]) -> None:
    wrapper = user_namespace("max_inotify_watches", 3)
    daemon = DaemonProcess(tmp_path, tiny_model, wrapper=wrapper)
    folders = [daemon.captures / name for name in ("a", "b", "c", "d", "e", "e/f")]
    for folder in folders:
        folder.mkdir(parents=True)
    daemon.start()
    daemon.wait_for_log("kernel watches only")
    for folder in folders:
        burst.write(folder, 2)
    daemon.wait_for(burst.whole)
    daemon.stop()
    report(Tally.of("inotify watch limit of 3 over 7 folders", 1, burst.whole, daemon))


@pytest.mark.faults_long
def test_no_inotify_at_all(tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]) -> None:
    wrapper = user_namespace("max_inotify_instances", 0)
    daemon = DaemonProcess(tmp_path, tiny_model, wrapper=wrapper).start()
    daemon.wait_for_log("kernel gives no events")
    burst.write(daemon.captures, 5)
    daemon.wait_for(burst.whole)
    daemon.stop()
    report(Tally.of("no inotify", 1, burst.whole, daemon))


@needs_root
def test_a_card_pulled_and_put_back_in_mid_burst(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not here")
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(40_000_000)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    card = daemon.captures / "card"
    daemon.start()
    daemon.wait_for_log("INFO watching")
    for _ in range(4):
        with mounted(card, "-o", "loop", str(image)):
            burst.write(card, 4)
            daemon.wait_for(set(list(burst.whole)[:1]))
            burst.write(card, 2)
            os.sync()
    with mounted(card, "-o", "loop", str(image)):
        daemon.wait_for(burst.whole)
    daemon.stop()
    report(Tally.of("card unmounted in mid-burst and mounted again", 4, burst.whole, daemon))


@pytest.mark.faults_long
@needs_root
def test_the_watched_folder_itself_is_a_card(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    with mounted(daemon.captures, "-t", "tmpfs", "tmpfs"):
        daemon.start()
        burst.write(daemon.captures, 3)
        daemon.wait_for(burst.whole)
    before = set(burst.whole)
    with mounted(daemon.captures, "-t", "tmpfs", "tmpfs"):
        burst.write(daemon.captures, 3)
        daemon.wait_for(burst.whole)
    assert before < burst.whole
    daemon.stop()
    report(Tally.of("the folder's own file system exchanged", 1, burst.whole, daemon))


def test_the_folder_vanishes_comes_back_and_is_renamed(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    burst.write(daemon.captures, 3)
    daemon.wait_for(burst.whole)
    daemon.captures.rename(tmp_path / "elsewhere")
    daemon.wait_for_log("waiting for")
    daemon.captures.mkdir()
    burst.write(daemon.captures, 3)
    daemon.wait_for(burst.whole)
    for path in (tmp_path / "elsewhere").iterdir():
        path.rename(daemon.captures / f"again-{path.name}")
    shutil.rmtree(tmp_path / "elsewhere")
    burst.write(daemon.captures, 1)
    daemon.wait_for(burst.whole)
    daemon.stop()
    daemon.captures.rename(tmp_path / "moved")
    daemon.start(watch=tmp_path / "moved")
    wait_until(lambda: daemon.query("SELECT count(*) FROM media WHERE path LIKE '%/moved/%'") == [(7,)], 30, daemon.log)
    daemon.stop()
    report(Tally.of("folder vanished, came back, was renamed", 3, burst.whole, daemon))


@pytest.mark.faults_long
@needs_root
def test_a_fuse_folder_that_sends_no_events(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    behind = tmp_path / "behind"
    behind.mkdir()
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    with fuse_window(behind, daemon.captures, tmp_path / "never"):
        daemon.start()
        daemon.wait_for_log("sends no events")
        burst.write(behind, 4)
        daemon.wait_for(burst.whole)
        burst.write(behind, 4)
        daemon.wait_for(burst.whole)
        daemon.stop()
    report(Tally.of("FUSE folder without events", 1, burst.whole, daemon))
