"""Measures the time from the closing of a frame's file to its committed row, while the daemon is idle.

python -m benchmarks.latency ../shared/data/field/frames [--frames 200] [--model FILE]
"""

import argparse
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks.backlog import classify_command, field_frames
from edge.image import decode as frame
from edge.inference.attention_crop import decode_side_px
from edge.inference.model import STARTER, Model

TIMEOUT_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    sources = [path.read_bytes() for path in field_frames(given.source)]
    frames = [sources[n % len(sources)] + n.to_bytes(4, "big") for n in range(given.frames)]
    model = Model(given.model)
    floors: list[float] = []
    latencies: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        captures, db = Path(folder) / "captures", Path(folder) / "detections.db"
        captures.mkdir()
        command = classify_command(db, given.model, "--watch", captures)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as daemon:
            assert daemon.stderr is not None
            next(line for line in daemon.stderr if "watching" in line)
            reader = sqlite3.connect(f"file:{db}?mode=ro", uri=True, isolation_level=None)
            for number, data in enumerate(frames):
                floors.append(_floor_s(model, data))
                path = captures / f"{number:05}.jpg"
                path.write_bytes(data)
                closed = time.monotonic()
                while reader.execute("SELECT count(*) FROM observation").fetchone()[0] <= number:
                    if time.monotonic() - closed > TIMEOUT_S:
                        raise SystemExit(f"{path.name} was not logged within {TIMEOUT_S:.0f} s")
                    time.sleep(0.0001)
                latencies.append(time.monotonic() - closed)
            daemon.terminate()
    floor_ms, latency_ms = median(floors) * 1e3, median(latencies) * 1e3
    print(f"{given.frames} frames, one at a time, idle daemon")
    print(f"single-frame floor   median {floor_ms:6.1f} ms")
    print(f"close to row         median {latency_ms:6.1f} ms   p99 {quantiles(latencies, n=100)[-1] * 1e3:.1f} ms")
    print(f"median less 5 ms: {(latency_ms - 5) / floor_ms:.2f} x the floor")


def _floor_s(model: Model, data: bytes) -> float:
    begun = time.monotonic()
    model.run(model.pixels(frame.decode(data, decode_side_px(model.card)))[None])
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
