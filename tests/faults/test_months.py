"""Months of work: memory that does not grow, and a start over a hundred thousand logged files."""

import os
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until

LOGGED = 100_000
_STAMP = re.compile(rb"20\d\d:\d\d:\d\d \d\d:\d\d:\d\d")
STREAM, FIRST, BACKLOG = 20_000, 500, 500


def _memory_bytes(daemon: DaemonProcess) -> int:
    assert daemon.process is not None
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _processor_seconds(daemon: DaemonProcess) -> float:
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.faults_long
def test_memory_is_flat_and_a_start_passes_what_is_logged(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    smallest = sorted(frames, key=lambda data: (_STAMP.search(data) is None, len(data)))[:5]
    whole = set()

    def write(first: int, last: int) -> None:
        """Bursts of three, 47 minutes apart."""
        for number in range(first, last):
            taken = datetime(2024, 1, 1) + timedelta(minutes=47 * (number // 3), seconds=number % 3)  # noqa: DTZ001
            stamp = f"{taken:%Y:%m:%d %H:%M:%S}".encode("ascii")
            data = _STAMP.sub(stamp, smallest[number % 5]) + b"%d" % number
            folder = daemon.captures / f"{number // 1000:03}"
            folder.mkdir(exist_ok=True)
            (folder / f"IMG_{number:05}.JPG").write_bytes(data)
            whole.add(digest(data))

    write(0, FIRST)
    daemon.start("--quiet")
    counted = "SELECT count(*) FROM media WHERE status = 'classified'"
    wait_until(lambda: daemon.classified() != [] and daemon.query(counted) == [(FIRST,)], 300, "the first frames")
    after_first = _memory_bytes(daemon)
    for upto in range(FIRST + BACKLOG, STREAM + 1, BACKLOG):  # as they come, not all at once
        write(upto - BACKLOG, upto)
        wait_until(lambda: daemon.query(counted) == [(upto,)], 300, "the stream of frames")  # noqa: B023
    growth = _memory_bytes(daemon) / after_first - 1
    daemon.stop()
    tally = Tally.of("20,000 frames in one run", STREAM, whole, daemon, f"memory {100 * growth:+.1f} % since frame 500")
    report(tally)

    # Further names of logged content, in one folder, make 100,000 files that a start has to pass by.
    copies = LOGGED // STREAM - 1
    crowded = daemon.captures / "crowded"
    crowded.mkdir()
    for path in sorted(daemon.captures.glob("*/*.JPG")):
        for copy in range(copies):
            os.link(path, crowded / f"{copy}-{path.name}")
    daemon.start("--quiet")
    wait_until(lambda: daemon.query("SELECT count(*) FROM file") == [(LOGGED,)], 3000, "the copies to be known")
    daemon.stop()
    last = smallest[0] + b"the last"
    (daemon.captures / "zzz-last.jpg").write_bytes(last)
    began = time.monotonic()
    daemon.start("--quiet")
    daemon.wait_for({digest(last)}, 300)
    seconds, busy = time.monotonic() - began, _processor_seconds(daemon)
    daemon.stop()
    whole.add(digest(last))
    note = f"a new frame after {seconds:.1f} s, {busy:.1f} s of processor time"
    report(Tally.of("start over 100,000 logged files", LOGGED, whole, daemon, note))
    assert growth < 0.05
