"""`python -m train evaluate`: figures of a run, or of a checkpoint on other data."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.taxonomy import Taxon
from train import TrainError
from train.checkpoint import Checkpoint
from train.datasets import read_dataset
from train.pixels import default_cache
from train.predictions import Predictions, predict
from train.prepare import pixel_source
from train.processes import started
from train.recipe import recipe_from_document
from train.report import report_predictions, report_run
from train.run_folder import CHECKPOINT, PREDICTIONS, PROTOTYPES
from train.trainer import draw_galleries


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.data is None:
        if options.second_look is not None:
            raise TrainError("a second look needs the images again; give them with --data")
        print(report_run(options.run))
        return 0
    if options.out is None:
        raise TrainError("evaluating on other data needs --out for its figures")
    print(_evaluate_on(options))
    return 0


def _evaluate_on(options: argparse.Namespace) -> str:
    checkpoint = Checkpoint.load(options.run / CHECKPOINT)
    recipe = recipe_from_document(checkpoint.recipe)
    dataset = read_dataset(options.data, options.format)
    samples = [sample for sample in dataset.samples if options.split in ("", sample.split)]
    if not samples:
        raise TrainError(f"{options.data} has no samples of split {options.split!r}")
    labels = tuple(label.name for label in checkpoint.labels)
    source = pixel_source(recipe, options.cache)
    options.out.mkdir(parents=True, exist_ok=True)
    with started(options.device) as processes:
        network = checkpoint.build_network()
        predictions = predict(
            network, labels, samples, _prototypes(options.run), 0, source, recipe.input.size_px, recipe.input.fit,
            processes.device, options.workers, options.second_look,
        )  # fmt: skip
        predictions.save(options.out / PREDICTIONS)
        draw_galleries(network, predictions, samples, source, recipe, processes.device, options.out)
    taxa: tuple[Taxon | None, ...] = tuple(label.taxon for label in checkpoint.labels)
    return report_predictions(Predictions.load(options.out / PREDICTIONS), taxa, options.out)


def _prototypes(run: Path) -> np.ndarray:
    try:
        with np.load(run / PROTOTYPES, allow_pickle=False) as archive:
            found: np.ndarray = archive["prototypes"]
    except OSError as error:
        raise TrainError(f"{run} holds no {PROTOTYPES}; give a folder that `python -m train fit` finished") from error
    return found


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no part of a side; expected more than 0 and at most 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description="Figures of a run.")
    parser.add_argument("run", type=Path, help="run folder; a cross-validation's gives the pooled figures")
    parser.add_argument("--data", type=Path, help="other labelled images (default: what the run held out)")
    parser.add_argument("--format", default="auto", help="layout of the data")
    parser.add_argument("--split", default="", help="only samples of this official split")
    parser.add_argument("--second-look", type=_fraction, metavar="FRACTION",
                        help="on other data: look again at what drew attention, a square of this side over the shorter "
                        "one, and answer by the mean of both looks")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for the figures on other data")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    return parser
