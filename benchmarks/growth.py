"""Measures how the cost of a new frame and of a start grows with 1,000, 10,000 and 100,000 logged frames.

python -m benchmarks.growth ../shared/data/field/frames [--frames 300] [--rounds 3] [--model FILE]
"""

import argparse
import shutil
import sqlite3
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.backlog import classify_command, cost, field_frames, make_backlog
from edge.inference.model import STARTER

# A logged frame, repeated: the same columns with another path, digest and time.
MORE_MEDIA = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO media (path, digest, bytes, width_px, height_px, captured_at, received_at, status, attempts, scene)
SELECT '/logged/' || i || '.jpg', printf('%040x', i), bytes, width_px, height_px,
       strftime('%Y-%m-%dT%H:%M:%fZ', '2020-01-01', '+' || i || ' minutes'), received_at, status, attempts, scene
FROM n, (SELECT * FROM media WHERE status = 'classified' LIMIT 1)
"""
MORE_FILES = """
INSERT INTO file (path, bytes, mtime_ns, media, seen_at)
SELECT path, bytes, 1, id, received_at FROM media WHERE path LIKE '/logged/%'
"""
MORE_OBSERVATIONS = """
INSERT INTO observation (media, run, model, subject, kind, taxon, rank, common_name, count, confidence, reason, method,
                         classified_by, classified_at, log_probabilities)
SELECT m.id, o.run, o.model, 0, o.kind, o.taxon, o.rank, o.common_name, o.count, o.confidence, o.reason, o.method,
       o.classified_by, o.classified_at, o.log_probabilities
FROM media m, (SELECT * FROM observation LIMIT 1) o WHERE m.path LIKE '/logged/%'
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    logged_counts = (1_000, 10_000, 100_000)
    figures: dict[int, list[float]] = {count: [] for count in logged_counts}
    starts: dict[int, list[float]] = {count: [] for count in logged_counts}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, frames, empty = folder / "first", folder / "frames", folder / "empty"
        empty.mkdir()
        first.mkdir()
        frames.mkdir()
        sources = field_frames(given.source)
        make_backlog(sources, frames, given.frames + 1)
        next(iter(sorted(frames.iterdir()))).rename(first / "first.jpg")
        for count in logged_counts:
            cost(classify_command(folder / f"{count}.db", given.model, "-q", first))
            _fill(folder / f"{count}.db", count)
        for _ in range(given.rounds):
            for count in logged_counts:
                db = folder / "run.db"
                shutil.copy(folder / f"{count}.db", db)
                start_s = cost(classify_command(db, given.model, "-q", empty)).cpu_s
                starts[count].append(start_s)
                whole_s = cost(classify_command(db, given.model, "-q", frames)).cpu_s
                figures[count].append((whole_s - start_s) / given.frames)
                db.unlink()
    least = median(figures[logged_counts[0]])
    print(f"{given.frames} new frames, {given.rounds} rounds, medians")
    for count, values in figures.items():
        frame_s, start_s = median(values), median(starts[count])
        print(
            f"{count:>9,} logged  {frame_s * 1e3:6.2f} ms CPU/frame  {frame_s / least:.3f}   start {start_s:.2f} s CPU"
        )


def _fill(path: Path, count: int) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(MORE_MEDIA, {"count": count})
        connection.execute(MORE_FILES)
        connection.execute(MORE_OBSERVATIONS)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


if __name__ == "__main__":
    main()
