"""`python -m train compose`: makes whole frames of crops, to calibrate a model that was trained on crops.

In a crop the animal fills the image, so crops do not tell the weight of an attention crop, nor the thresholds for whole
frames. The frames made here are no test data: figures for whole frames need frames that a camera took.
"""

import argparse
import csv
import re
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np

from edge.commands.runner import Parser
from edge.image.decode import decode
from edge.image.resize import Pixels
from train import TrainError, notice
from train.commands.runner import writing
from train.data.image_cache import PixelSource
from train.data.prepare import prepare, read_backgrounds
from train.data.sample import Box, Sample
from train.fit.augment.background import place_in
from train.recipe import load_recipe

SIDE_PX = (480, 1440)
"""Range of the frames' shorter side, within which an animal keeps the pixels of its crop."""
COLUMNS = (
    "path",
    "label",
    "scientificName",
    "site",
    "event",
    "width_px",
    "height_px",
    "box_x",
    "box_y",
    "box_width",
    "box_height",
)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    least, most = options.height
    if not 0.02 <= least <= most <= 0.95:
        raise TrainError(f"--height is {least} {most}; expected two fractions from 0.02 to 0.95, the smaller first")
    recipe = load_recipe(options.recipe, options.set)
    _make_folder(options.out)
    backgrounds = read_backgrounds(options.backgrounds, options.skip_bad)
    prepared = prepare(options.data, options.format, recipe, options.skip_bad)
    source = PixelSource(SIDE_PX[1])
    names = {label.name: label.taxon.scientific_name for label in prepared.labels if label.taxon}
    rows = []
    samples = (*prepared.samples, *prepared.unseen)
    for number, sample in enumerate(samples):
        rng = np.random.default_rng((options.seed, number))
        frame = source.read(backgrounds[int(rng.integers(len(backgrounds)))])
        pixels, box = composed(_animal(sample), frame, float(rng.uniform(least, most)), rng)
        path = Path(re.sub(r"^\.|[/\\]", "_", sample.label)) / f"{number:05d}.jpg"
        _write(options.out / path, pixels)
        species = sample.scientific_name or names.get(sample.label, "")
        event = sample.sequence or str(sample.path)
        size_px, sides = pixels.shape[1::-1], (round(side, 5) for side in astuple(box))
        rows.append([path, sample.label, species, sample.location, event, *size_px, *sides])
    table = options.out / "manifest.csv"
    with writing(table), table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    notice(f"{options.out}: {len(rows)} frames of {len(backgrounds)} backgrounds")
    return 0


def composed(crop: Pixels, frame: Pixels, height: float, rng: np.random.Generator) -> tuple[Pixels, Box]:
    """(a frame uint8[H, W, 3] with the crop in it, the crop's box).

    The crop's height is the fraction `height` of the frame's, or less where it would become too wide or be enlarged.
    """
    high, wide = crop.shape[:2]
    height_px = int(np.clip(high / height, *SIDE_PX))
    width_px = round(height_px * frame.shape[1] / frame.shape[0])
    scale = min(1.0, height * height_px / high, 0.95 * width_px / wide)
    high, wide = max(8, round(high * scale)), max(8, round(wide * scale))
    top, left = int(rng.integers(0, height_px - high + 1)), int(rng.integers(0, width_px - wide + 1))
    behind = cv2.resize(frame, (width_px, height_px), interpolation=cv2.INTER_AREA)
    box = Box(left / width_px, top / height_px, wide / width_px, high / height_px)
    return place_in(np.asarray(behind, np.uint8), crop, top, left, high, wide), box


def _animal(sample: Sample) -> Pixels:
    """uint8[H, W, 3]: the sample's bounding box in full detail, or its whole image where it has none."""
    pixels = decode(sample.path.read_bytes(), name=sample.path.name).pixels
    return pixels if sample.box is None else np.ascontiguousarray(sample.box.cut(pixels))


def _make_folder(path: Path) -> None:
    """Make an empty folder; a `manifest.csv` in an existing one might be overwritten."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise TrainError(f"{path} is not empty; give a new folder as --out")


def _write(path: Path, pixels: Pixels) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert whole
        path.write_bytes(data.tobytes())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train compose", description=__doc__)
    parser.add_argument("--recipe", required=True, help="the recipe whose filters of the data apply")
    parser.add_argument("--data", required=True, type=Path, help="labelled crops")
    parser.add_argument("--format", default="auto", help="layout of the data; auto recognises it")
    parser.add_argument("--backgrounds", required=True, type=Path, help="frames without animals")
    parser.add_argument("--out", required=True, type=Path, help="folder to make: frames and their manifest.csv")
    parser.add_argument(
        "--height",
        type=float,
        nargs=2,
        default=(0.1, 0.6),
        metavar=("LEAST", "MOST"),
        help="height of an animal as a fraction of the frame's (default 0.1 0.6)",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave samples with problems out instead of stopping")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default 0)")
    return parser
