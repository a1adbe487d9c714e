"""Makes a backlog of real frames, and measures time and memory of the command that works through it.

Frames are repeated. Each copy has a few bytes more behind the end marker, so that it counts as a frame of its own,
although the image is the same.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import simplejpeg


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time, time and memory of one run of a command."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


def classify_command(db: Path, model: Path, *words: object, python: Path | str = sys.executable) -> list[str]:
    """The command line of `edge-classify`, run from this checkout."""
    command = [str(python), "-m", "edge.commands.classify", *map(str, words)]
    return [*command, "--model", str(model), "--db", str(db)]


def make_backlog(sources: Sequence[Path], folder: Path, count: int) -> None:
    """Fill `folder` with `count` distinct frames."""
    contents = [path.read_bytes() for path in sources]
    names = [path.stem for path in sources]
    for number, (name, data) in enumerate(islice(cycle(zip(names, contents, strict=True)), count)):
        (folder / f"{number:06}-{name}.jpg").write_bytes(data + number.to_bytes(4, "big"))


def field_frames(folder: Path, at_least_mp: float = 0.0) -> list[Path]:
    """JPEG files below `folder` with at least that many million pixels, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [path for path in paths if at_least_mp <= 0 or _megapixels(path) >= at_least_mp]


def _megapixels(path: Path) -> float:
    height, width, *_ = simplejpeg.decode_jpeg_header(path.read_bytes())
    return float(height * width / 1e6)


def cost(command: Sequence[str], cores: Sequence[int] | None = None) -> Cost:
    """Run `command` to its end, on the given cores only. Raises `subprocess.CalledProcessError` if it fails."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
    )
    # Not ru_maxrss: it remembers the memory of the process that started this one.
    peak_bytes = 0
    while True:
        peak_bytes = max(peak_bytes, _peak_rss_bytes(process.pid))
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    wall_s = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, peak_bytes)


def _peak_rss_bytes(pid: int) -> int:
    """The most memory that a running process has held so far; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) * 1024 if lines else 0
