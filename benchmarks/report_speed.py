"""Measures time and memory of every report on one database.

python -m benchmarks.report_speed million.db [--config study.toml]

`python -m tests.support.made_survey` makes a database of a million frames.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

FORMATS = ["html", "csv", "events", "jsonl", "parquet", "megadetector", "wildlife-insights", "camtrap-dp"]
FORMATS += ["detection-history", "activity", "health", "digest"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of every report.")
    parser.add_argument("db", type=Path)
    parser.add_argument("--config", type=Path)
    arguments = parser.parse_args()
    print("| format | seconds | processor s | peak MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            out = str(Path(folder) / name)
            words = ["-m", "edge.commands.report", name, "--db", str(arguments.db), "--out", out]
            if arguments.config:
                words += ["--config", str(arguments.config)]
            began = time.perf_counter()
            child = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ)
            _, status, usage = os.wait4(child, 0)
            seconds = time.perf_counter() - began
            code = os.waitstatus_to_exitcode(status)
            failed = "" if code in (0, 1) else f" (exit code {code})"
            busy, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
            print(f"| {name}{failed} | {seconds:.1f} | {busy:.1f} | {peak_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
