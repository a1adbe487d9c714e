"""What happens to the folder: events lost or never sent, the card pulled and put back, the folder gone or renamed."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.test_disk import mounted, needs_root
from tests.support.daemon_process import Box, Burst, Tally, wait_until
from tests.support.fuse_window import fuse_window


def test_a_kernel_queue_that_overflows(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model).start()
    burst.write(box.captures, 2)
    box.wait_for(burst.whole)
    assert box.process is not None
    length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    os.kill(box.process.pid, signal.SIGSTOP)
    noise = box.captures / ".noise.tmp"
    for _ in range(length):  # made and closed: two events that the queue cannot join into one
        noise.touch()
        noise.unlink()
    burst.write(box.captures, 10)
    os.kill(box.process.pid, signal.SIGCONT)
    box.wait_for(burst.whole)
    assert "may be lost" in box.log
    box.stop()
    report(Tally.of("inotify queue overflow", 1, burst.whole, box))


@pytest.mark.faults_long
def test_too_few_watches(tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]) -> None:
    # A user namespace has limits of its own.
    limit = "/proc/sys/user/max_inotify_watches"
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo 3 > {limit} && exec "$@"', "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this host makes no user namespaces")
    box = Box(tmp_path, tiny_model, wrapper=wrapper)
    folders = [box.captures / name for name in ("a", "b", "c", "d", "e", "e/f")]
    for folder in folders:
        folder.mkdir(parents=True)
    box.start()
    box.wait_for_word("kernel watches only")
    for folder in folders:
        burst.write(folder, 2)
    box.wait_for(burst.whole)
    box.stop()
    report(Tally.of("inotify watch limit of 3 over 7 folders", 1, burst.whole, box))


@pytest.mark.faults_long
def test_no_inotify_at_all(tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]) -> None:
    limit = "/proc/sys/user/max_inotify_instances"
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo 0 > {limit} && exec "$@"', "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this host makes no user namespaces")
    box = Box(tmp_path, tiny_model, wrapper=wrapper).start()
    box.wait_for_word("kernel gives no events")
    burst.write(box.captures, 5)
    box.wait_for(burst.whole)
    box.stop()
    report(Tally.of("no inotify", 1, burst.whole, box))


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
    box = Box(tmp_path, tiny_model)
    box.captures.mkdir()
    card = box.captures / "card"
    box.start()
    box.wait_for_word("INFO watching")
    for _ in range(4):
        with mounted(card, "-o", "loop", str(image)):
            burst.write(card, 4)
            box.wait_for(set(list(burst.whole)[:1]))
            burst.write(card, 2)
            os.sync()
    with mounted(card, "-o", "loop", str(image)):
        box.wait_for(burst.whole)
    box.stop()
    report(Tally.of("card unmounted in mid-burst and mounted again", 4, burst.whole, box))


@pytest.mark.faults_long
@needs_root
def test_the_watched_folder_itself_is_a_card(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model)
    with mounted(box.captures, "-t", "tmpfs", "tmpfs"):
        box.start()
        burst.write(box.captures, 3)
        box.wait_for(burst.whole)
    before = set(burst.whole)
    with mounted(box.captures, "-t", "tmpfs", "tmpfs"):
        burst.write(box.captures, 3)
        box.wait_for(burst.whole)
    assert before < burst.whole
    box.stop()
    report(Tally.of("the folder's own file system exchanged", 1, burst.whole, box))


def test_the_folder_vanishes_comes_back_and_is_renamed(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    box = Box(tmp_path, tiny_model).start()
    burst.write(box.captures, 3)
    box.wait_for(burst.whole)
    box.captures.rename(tmp_path / "elsewhere")
    box.wait_for_word("waiting for")
    box.captures.mkdir()
    burst.write(box.captures, 3)
    box.wait_for(burst.whole)
    for path in (tmp_path / "elsewhere").iterdir():
        path.rename(box.captures / f"again-{path.name}")
    shutil.rmtree(tmp_path / "elsewhere")
    burst.write(box.captures, 1)
    box.wait_for(burst.whole)
    box.stop()
    box.captures.rename(tmp_path / "moved")
    box.start(watch=tmp_path / "moved")
    wait_until(lambda: box.query("SELECT count(*) FROM media WHERE path LIKE '%/moved/%'") == [(7,)], 30, box.log)
    box.stop()
    report(Tally.of("folder vanished, came back, was renamed", 3, burst.whole, box))


@pytest.mark.faults_long
@needs_root
def test_a_fuse_folder_that_sends_no_events(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    behind = tmp_path / "behind"
    behind.mkdir()
    box = Box(tmp_path, tiny_model)
    box.captures.mkdir()
    with fuse_window(behind, box.captures, tmp_path / "never"):
        box.start()
        box.wait_for_word("sends no events")
        burst.write(behind, 4)
        box.wait_for(burst.whole)
        burst.write(behind, 4)
        box.wait_for(burst.whole)
        box.stop()
    report(Tally.of("FUSE folder without events", 1, burst.whole, box))
