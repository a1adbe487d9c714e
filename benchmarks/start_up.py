"""Measures how long the command needs until it prints its version, and until it is ready to classify.

python -m benchmarks.start_up [--rounds 9] [--model FILE]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.backlog import classify_command
from edge.inference.model import STARTER

Spent = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    figures: dict[str, list[Spent]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turn in range(given.rounds):
            watch = classify_command(folder / f"{turn}.db", given.model, "--watch", name)
            for what, words, line in (
                ("--version", [sys.executable, "-m", "edge.commands.classify", "--version"], "edge-classify"),
                ("ready, a new database", watch, "watching"),
                ("ready, the same database again", watch, "watching"),
            ):
                figures.setdefault(what, []).append(_spent_until(line, words))
    print(f"{given.rounds} rounds, medians")
    for what, values in figures.items():
        wall_s, cpu_s = (median(value) for value in zip(*values, strict=True))
        print(f"{what:32} {wall_s:.3f} s, of the processor {cpu_s:.3f} s")


def _spent_until(word: str, command: list[str]) -> Spent:
    """Seconds until a line with `word` comes, and processor seconds of the process, which is then ended at once."""
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if word in line)
        wall_s = time.monotonic() - begun
        process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return wall_s, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
