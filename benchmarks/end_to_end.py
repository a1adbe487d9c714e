"""What `edge-classify DIR` costs for each frame, all included, as a ratio to the floor of the same run.

python -m benchmarks.end_to_end ../shared/data/field/frames [--frames 5000] [--rounds 3] [--workers 2] [--model FILE]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.backlog import Cost, cost, field_frames, make_backlog
from edge.inference.model import STARTER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least-mp", type=float, default=0.0, help="only frames of that many million pixels")
    parser.add_argument("--workers", type=int, help="also with so many processes in place of threads")
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    results: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        frames.mkdir()
        make_backlog(field_frames(given.source, given.at_least_mp), frames, given.frames)
        model = ["--model", str(given.model)]
        for turn in range(given.rounds):
            edge = [sys.executable, "-m", "edge.commands.classify", str(frames), "-q", *model, "--db"]
            commands = {
                "floor": ([sys.executable, "-m", "benchmarks.floor", str(frames), *model], (0,)),
                "one look": ([*edge, f"{folder}/one{turn}.db", "--no-second-look"], (0,)),
                "two looks": ([*edge, f"{folder}/two{turn}.db"], (0,)),
                "two looks, 2 cores": ([*edge, f"{folder}/cores{turn}.db"], (0, 1)),
            }
            if given.workers:
                several = [*edge, f"{folder}/workers{turn}.db", "--workers", str(given.workers)]
                commands[f"the same, {given.workers} processes"] = (several, (0, 1))
            for name, (command, cores) in commands.items():
                results.setdefault(name, []).append(cost(command, cores))
    floor = median(run.cpu_s for run in results["floor"])
    alone = median(run.wall_s for run in results["two looks"])
    print(f"{given.frames} frames, {given.rounds} rounds, medians")
    print(f"{'':20} {'CPU/frame':>10} {'x floor':>8} {'frames/s':>9} {'peak MB':>8}")
    for name, runs in results.items():
        cpu, wall = median(run.cpu_s for run in runs), median(run.wall_s for run in runs)
        print(f"{name:20} {cpu / given.frames * 1e3:7.2f} ms {cpu / floor:8.3f} {given.frames / wall:9.1f} "
              f"{max(run.peak_bytes for run in runs) / 1e6:8.0f}")  # fmt: skip
    both = median(run.wall_s for run in results["two looks, 2 cores"])
    print(f"throughput on 2 cores: {alone / both:.2f} x one core")


if __name__ == "__main__":
    main()
