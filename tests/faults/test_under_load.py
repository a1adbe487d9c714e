"""What happens to file systems and clocks while frames come without an end."""

import glob
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, wait_until
from tests.support.frame_load import FrameLoad
from tests.support.requirements import mounted, needs_root
from tests.support.start_hook import start_hook

SEED = 22
ROUNDS = 12


def _few_more(load: FrameLoad, count: int = 15) -> None:
    before = len(load.whole)
    wait_until(lambda: len(load.whole) >= before + count, 60, "more frames")


def _ext4(path: Path, size: int = 60_000_000) -> Path:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not here")
    with path.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", str(path)], check=True)
    return path


@pytest.mark.faults_long
@needs_root
def test_captures_remounted_read_only_and_back(
    tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    with mounted(daemon.captures, "-o", "loop", str(_ext4(tmp_path / "card.img"))):
        daemon.start()
        daemon.wait_for_log("INFO watching")
        load, done = FrameLoad(daemon.captures), 0
        with load.running():
            for _ in range(ROUNDS):
                _few_more(load)
                for way in ("ro", "rw"):
                    remount = ["mount", "-o", f"remount,{way}", str(daemon.captures)]
                    wait_until(lambda: subprocess.run(remount, capture_output=True).returncode == 0, 20, way)  # noqa: B023
                done += 1
            _few_more(load)
        daemon.wait_for(set(load.whole))
        daemon.stop()
        report(Tally.of("captures remounted read-only and back under load", done, set(load.whole), daemon))


@pytest.mark.faults_long
@needs_root
def test_a_card_removed_and_put_back(tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]) -> None:
    image = _ext4(tmp_path / "card.img")
    environment = start_hook(tmp_path / "hook", {"edge.capture.watcher.RESCAN_S": 3})
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment)
    card = daemon.captures / "card"
    card.mkdir(parents=True)
    daemon.start()
    daemon.wait_for_log("INFO watching")
    load = FrameLoad(card)
    for number in range(ROUNDS):
        with mounted(card, "-o", "loop", str(image)), load.running():
            _few_more(load, 10 + number)
            os.sync()
    with mounted(card, "-o", "loop", str(image)):
        whole = {digest_of for digest_of, path in load.whole.items() if path.exists()}
        daemon.wait_for(whole)
    daemon.stop()
    assert "Traceback" not in daemon.log
    note = f"{len(load.whole) - len(whole)} frames went with the card before they were on it"
    report(Tally.of("card removed and put back under load", ROUNDS, set(daemon.classified()) | whole, daemon, note))


@pytest.mark.faults_long
@needs_root
def test_the_databases_file_system_fails(tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]) -> None:
    """The kernel turns a failing card read-only; it comes back after a repair."""
    image = _ext4(tmp_path / "state.img")
    daemon = DaemonProcess(tmp_path, tiny_model)
    (tmp_path / "detections.db").symlink_to(tmp_path / "state" / "detections.db")
    daemon.captures.mkdir()
    load = FrameLoad(daemon.captures)
    with load.running():
        for number in range(1, 5):
            with mounted(tmp_path / "state", "-o", "loop,errors=remount-ro", str(image)) as state:
                daemon.start()
                daemon.wait_for_log("INFO watching", number)
                _few_more(load)
                source = subprocess.run(["findmnt", "-no", "SOURCE", str(state)], capture_output=True, text=True)
                trigger = Path("/sys/fs/ext4") / Path(source.stdout.strip()).name / "trigger_fs_error"
                before = daemon.log.count("trying again")
                trigger.write_text("a test", "ascii")
                daemon.wait_for_log("trying again", before + 1)
                _few_more(load)
                daemon.stop()
            subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True, check=False)
    with mounted(tmp_path / "state", "-o", "loop", str(image)):
        daemon.start()
        daemon.wait_for(set(load.whole))
        daemon.stop()
        assert "Traceback" not in daemon.log
        report(Tally.of("database's file system read-only under load, repaired", 4, set(load.whole), daemon))


@pytest.mark.faults_long
def test_the_clock_jumps(tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]) -> None:
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        pytest.skip("libfaketime sets the daemon's clock (apt-get install faketime)")
    clock, chance = tmp_path / "clock", random.Random(SEED)
    environment = {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(clock)}
    switches = ("FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT")
    environment |= dict.fromkeys(switches, "1")
    clock.write_text("+0", "ascii")
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment).start("--heartbeat-s", "0.5")
    daemon.wait_for_log("INFO watching")
    load = FrameLoad(daemon.captures)
    jumps = [f"{chance.choice('+-')}{chance.choice(('3s', '59m', '25h', '400d', '20y', '55y'))}" for _ in range(30)]
    with load.running():
        for jump in jumps:
            young = clock.with_name("young")
            young.write_text(jump, "ascii")
            os.replace(young, clock)
            _few_more(load, 8)
    daemon.wait_for(set(load.whole))
    daemon.stop()
    assert "Traceback" not in daemon.log
    report(Tally.of("the device's clock jumps under load", len(jumps), set(load.whole), daemon))
