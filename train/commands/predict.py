"""`python -m train predict`: a gallery of any pictures, with answers and attention."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.frame import IMAGE_SUFFIXES
from train import TrainError
from train.faults import readable
from train.gallery import draw_gallery, make_tiles
from train.prepare import pixel_source
from train.processes import started
from train.recipe import recipe_from_document
from train.sample import Dataset, Sample
from train.trained import Trained


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    trained = Trained(options.run)
    recipe = recipe_from_document(trained.checkpoint.recipe)
    files = sorted(
        file
        for path in options.pictures
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.suffix.lower() in IMAGE_SUFFIXES
    )
    if not files:
        raise TrainError(f"{', '.join(map(str, options.pictures))}: no pictures there")
    chosen = Dataset("the gallery", tuple(Sample(file, "") for file in files[: options.count]))
    samples = readable(chosen, options.skip_bad).samples
    labels = [label.common_name for label in trained.labels]
    if trained.temperature is None:
        print(f"warning: {options.run} lacks held-out answers: its probabilities are not calibrated", file=sys.stderr)
    with started(options.device) as processes:
        tiles = make_tiles(
            trained.network(), samples, labels, pixel_source(recipe, None), recipe.input.size_px,
            recipe.input.fit, processes.device, trained.temperature or 1.0,
        )  # fmt: skip
    draw_gallery(tiles, options.out, f"{trained.checkpoint.name} {trained.checkpoint.version}")
    for sample, tile in zip(samples, tiles, strict=True):
        print(f"{sample.path}\t{tile.caption}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train predict", description="Draw answers and attention.")
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("gallery.png"), help="picture to write (default gallery.png)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable pictures out instead of stopping")
    parser.add_argument("--count", type=int, default=48, help="at most so many pictures")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser
