"""Measures the peak memory of the whole process with frames of 24 megapixels, baseline and progressive JPEG.

python -m benchmarks.memory ../shared/data/field/frames [--frames 60] [--model FILE]
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.backlog import classify_command, cost, field_frames, make_backlog
from edge.inference.model import STARTER

WIDTH_PX, HEIGHT_PX = 6000, 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    sources = field_frames(given.source, at_least_mp=7)[:6]
    for kind in ("baseline", "progressive"):
        with tempfile.TemporaryDirectory() as name:
            large, frames = Path(name) / "large", Path(name) / "frames"
            large.mkdir()
            frames.mkdir()
            for path in sources:
                (large / path.name).write_bytes(_enlarged(path, progressive=kind == "progressive"))
            make_backlog(sorted(large.iterdir()), frames, given.frames)
            run = cost(classify_command(Path(name) / "detections.db", given.model, frames, "-q"))
            peak_mb, cpu_ms = run.peak_bytes / 1e6, run.cpu_s / given.frames * 1e3
            print(f"{kind:12} {given.frames} frames of 24 MP: peak {peak_mb:.0f} MB, {cpu_ms:.0f} ms CPU/frame")


def _enlarged(path: Path, progressive: bool) -> bytes:
    out = io.BytesIO()
    with Image.open(path) as frame:
        large = frame.convert("RGB").resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.BICUBIC)
    large.save(out, "JPEG", quality=90, progressive=progressive)
    return out.getvalue()


if __name__ == "__main__":
    main()
