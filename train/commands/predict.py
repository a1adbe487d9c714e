"""`python -m train predict`: draws a gallery of images with their predictions and attention."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

from edge.commands.runner import Parser
from edge.host.output_file import Guard
from train import TrainError, notice
from train.commands.runner import add_machine_options, writing
from train.data.image_cache import PixelSource
from train.data.readers.folder import images_below
from train.data.sample import Dataset, Sample
from train.data.validate import readable
from train.evaluation.gallery import draw_gallery, make_tiles
from train.evaluation.images import EvaluationImages
from train.evaluation.plots import is_figure
from train.runtime.distributed import started
from train.trained_model import TrainedModel


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.count < 1:
        raise TrainError(f"--count is {options.count}; expected at least 1 image")
    guard = Guard(tuple(options.images), options.force)
    _check_out(options.out, guard)
    trained = TrainedModel(options.run)
    files = sorted(file for path in options.images for file in (images_below(path) if path.is_dir() else [path]))
    if not files:
        raise TrainError(f"{', '.join(map(str, options.images))}: no images there")
    if len(files) > options.count:
        notice(f"the first {options.count} of {len(files)} images; --count for more")
    chosen = Dataset("the gallery", tuple(Sample(file, "") for file in files[: options.count]))
    samples = readable(chosen, options.skip_bad).samples
    if not samples:
        raise TrainError(f"{', '.join(map(str, options.images))}: no image there can be read")
    labels = [label.common_name for label in trained.labels]
    if trained.temperature is None:
        notice(f"warning: {options.run} has no held-out predictions: probabilities are not calibrated")
    # From the checkpoint, for not every checkpoint has a recipe.
    size_px = trained.checkpoint.input_height_px
    with started(options.device, options.threads) as processes:
        images = EvaluationImages(samples, PixelSource(size_px), size_px, trained.checkpoint.fit)
        tiles = make_tiles(trained.network(), images, labels, processes.device, trained.temperature or 1.0)
    named = [
        replace(tile, caption=f"{sample.path.name}\n{tile.caption}")
        for sample, tile in zip(samples, tiles, strict=True)
    ]
    with guard.replacing(options.out, is_figure) as file:
        draw_gallery(named, file, f"{trained.checkpoint.name} {trained.checkpoint.version}")
    for sample, tile in zip(samples, tiles, strict=True):
        print(f"{sample.path}\t{tile.caption}")
    return 0


def _check_out(path: Path, guard: Guard) -> None:
    """Raise `TrainError` or `OutputError` before the work rather than after it."""
    if path.suffix.lower() != ".png" or path.is_dir():
        raise TrainError(f"--out is {path}; expected a PNG file to write, such as gallery.png")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        guard.check(path, is_figure)
        with TemporaryFile(dir=path.parent):
            pass


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train predict", description="Draw predictions and attention.")
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("images", type=Path, nargs="+", help="images, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("gallery.png"), help="PNG file to write (default gallery.png)")
    parser.add_argument("--force", action="store_true", help="replace also a file at --out that is no figure")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out instead of stopping")
    parser.add_argument("--count", type=int, default=48, help="largest number of images (default 48)")
    add_machine_options(parser)
    return parser
