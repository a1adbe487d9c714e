"""Measures a memory card of a million files: seconds until the first row, files per second after it, and memory.

The files are hard links to a few small frames, in folders of 10,000 as cameras make them.

python -m benchmarks.archive [--files 1000000] [--seconds 60] [--model FILE]
"""

import argparse
import os
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from benchmarks.backlog import classify_command
from edge.inference.model import STARTER

A_FOLDER = 10_000
LINKS = 50_000  # fewer than any file system's limit
SIDE_PX = 64
TICK_S = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure after the first row")
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive, db = Path(name) / "archive", Path(name) / "detections.db"
        _fill(archive, given.files)
        begun = time.monotonic()
        with subprocess.Popen(classify_command(db, given.model, archive, "-q")) as process:
            while (first := _logged(db)) == 0:
                time.sleep(TICK_S)
            started_s = time.monotonic() - begun
            time.sleep(2.0)
            early, later, memory = _logged(db), first, [_rss_mb(process.pid)]
            measured_from = time.monotonic()
            while time.monotonic() - measured_from < given.seconds and process.poll() is None:
                time.sleep(given.seconds / 20)
                memory.append(_rss_mb(process.pid))
            later = _logged(db)
            rate = (later - early) / (time.monotonic() - measured_from)
            process.terminate()
    print(f"{given.files:,} files: first row after {started_s:.2f} s, then {rate:,.0f} files/s")
    print(
        f"memory 2 s later {memory[0]:.0f} MB, after {later:,} files {memory[-1]:.0f} MB, at most {max(memory):.0f} MB"
    )


def _fill(archive: Path, files: int) -> None:
    chance = np.random.default_rng(0)
    source = archive / "0000" / "source.jpg"
    for number in range(files):
        folder = archive / f"{number // A_FOLDER:04}"
        if number % A_FOLDER == 0:
            folder.mkdir(parents=True)
        path = folder / f"IMG_{number % A_FOLDER:04}.jpg"
        if number % LINKS == 0:
            pixels = chance.integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
            path.write_bytes(simplejpeg.encode_jpeg(pixels))
            source = path
        else:
            os.link(source, path)


def _logged(db: Path) -> int:
    if not db.exists():
        return 0
    reader = sqlite3.connect(f"file:{db}?mode=ro", uri=True)
    try:
        return int(reader.execute("SELECT count(*) FROM file").fetchone()[0])
    except sqlite3.OperationalError:  # its tables are being made
        return 0
    finally:
        reader.close()


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
