"""Measures processor time for frames that come one by one, with and without `--power`, in turns.

python -m benchmarks.power ../shared/data/field/frames [--frames 60] [--every-s 2] [--rounds 2] [--model FILE]
"""

import argparse
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.backlog import classify_command, field_frames, make_backlog
from edge.inference.model import STARTER

TIMEOUT_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds from one frame to the next")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    modes: dict[str, tuple[str, ...]] = {"default": (), "--power": ("--power",)}
    costs: dict[str, list[float]] = {name: [] for name in modes}
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        frames.mkdir()
        make_backlog(field_frames(given.source), frames, given.frames)
        for turn in range(given.rounds):
            for name, words in modes.items():
                place = Path(folder) / f"{turn}{name.strip('-')}"
                place.mkdir()
                costs[name].append(_cpu_s(sorted(frames.iterdir()), place, given.every_s, given.model, words))
    default_s = median(costs["default"])
    print(f"{given.frames} frames, one every {given.every_s:g} s, {given.rounds} rounds, medians, start left out")
    for name, seconds in costs.items():
        each_ms = 1e3 * median(seconds) / given.frames
        print(f"{name:10} {each_ms:7.2f} ms CPU a frame, waiting included   {median(seconds) / default_s:.3f} x")


def _cpu_s(frames: Sequence[Path], folder: Path, every_s: float, model: Path, words: Sequence[str]) -> float:
    """CPU seconds of a daemon from its readiness to the last frame's row."""
    captures, db = folder / "captures", folder / "detections.db"
    captures.mkdir()
    command = classify_command(db, model, "--watch", captures, *words)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        next(line for line in daemon.stderr if "watching" in line)
        before_s = _spent_s(daemon.pid)
        for path in frames:
            (captures / path.name).write_bytes(path.read_bytes())
            time.sleep(every_s)
        reader = sqlite3.connect(f"file:{db}?mode=ro", uri=True, isolation_level=None)
        end = time.monotonic() + TIMEOUT_S
        while reader.execute("SELECT count(*) FROM observation").fetchone()[0] < len(frames):
            if time.monotonic() > end:
                raise SystemExit(f"the frames were not logged within {TIMEOUT_S:.0f} s")
            time.sleep(0.1)
        spent_s = _spent_s(daemon.pid) - before_s
        daemon.terminate()
    return spent_s


def _spent_s(pid: int) -> float:
    """User and system time of a process."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
