"""Measures processor time per frame of `edge-classify DIR`, all included, against the floor of the same run.

python -m benchmarks.end_to_end ../shared/data/field/frames [--frames 5000] [--rounds 3] [--workers 2] [--model FILE]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.backlog import Cost, classify_command, cost, field_frames, make_backlog
from edge.inference.model import STARTER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least-mp", type=float, default=0.0, help="only frames of that many million pixels")
    parser.add_argument("--workers", type=int, help="also with this many processes in place of threads")
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    results: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        frames.mkdir()
        make_backlog(field_frames(given.source, given.at_least_mp), frames, given.frames)
        flags: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
            "whole frame only": (("--no-second-look",), (0,)),
            "with crop": ((), (0,)),
            "with crop, 2 cores": ((), (0, 1)),
        }
        if given.workers:
            flags[f"the same, {given.workers} processes"] = (("--workers", str(given.workers)), (0, 1))
        floor_command = [sys.executable, "-m", "benchmarks.floor", str(frames), "--model", str(given.model)]
        for _ in range(given.rounds):
            results.setdefault("floor", []).append(cost(floor_command, (0,)))
            for name, (words, cores) in flags.items():
                with tempfile.TemporaryDirectory() as db:
                    command = classify_command(Path(db) / "detections.db", given.model, frames, "-q", *words)
                    results.setdefault(name, []).append(cost(command, cores))
    floor = median(run.cpu_s for run in results["floor"])
    alone = median(run.wall_s for run in results["with crop"])
    print(f"{given.frames} frames, {given.rounds} rounds, medians")
    print(f"{'':20} {'CPU/frame':>10} {'x floor':>8} {'frames/s':>9} {'peak MB':>8}")
    for name, runs in results.items():
        cpu, wall = median(run.cpu_s for run in runs), median(run.wall_s for run in runs)
        peak_mb = max(run.peak_bytes for run in runs) / 1e6
        cpu_ms = cpu / given.frames * 1e3
        print(f"{name:20} {cpu_ms:7.2f} ms {cpu / floor:8.3f} {given.frames / wall:9.1f} {peak_mb:8.0f}")
    both = median(run.wall_s for run in results["with crop, 2 cores"])
    print(f"throughput on 2 cores: {alone / both:.2f} x one core")


if __name__ == "__main__":
    main()
