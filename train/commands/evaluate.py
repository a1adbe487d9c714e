"""`python -m train evaluate`: figures of a run, or of a checkpoint on other data."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from edge.commands.runner import Parser
from edge.inference.card import SecondCrop
from train import TrainError
from train.commands.runner import add_machine_options, not_negative
from train.data.image_cache import default_cache
from train.data.prepare import pixel_source, samples_of_inputs
from train.data.readers import read_dataset
from train.data.sample import Sample
from train.data.validate import readable
from train.evaluation.images import EvaluationImages
from train.evaluation.predictions import UNSEEN, Predictions, predict
from train.evaluation.report import report_predictions, report_run
from train.evaluation.retrieval import retrieval_figures
from train.recipe import recipe_from_document
from train.run_folder import PREDICTIONS, RETRIEVAL, check_writable, holds_run, write_json
from train.runtime.distributed import started
from train.trained_model import TrainedModel, file_digests
from train.trainer import draw_galleries

CROP_WEIGHT = 0.5
"""Weight of the attention crop, as no export has fitted one yet."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.data is None:
        for option in ("--second-look", "--out", "--split"):
            if getattr(options, option[2:].replace("-", "_")):
                raise TrainError(f"{option} is for images given with --data; the run's own figures stay in its folder")
        print(report_run(options.run))
        return 0
    if options.out is None:
        raise TrainError("evaluating on other data needs --out for its figures")
    check_writable(options.out)
    if holds_run(options.out):
        raise TrainError(f"{options.out} holds a run, whose figures these would replace; give a folder of its own")
    trained = TrainedModel(options.run)
    known, recipe = trained.prototypes(), recipe_from_document(trained.checkpoint.recipe)
    dataset = read_dataset(options.data, options.format)
    chosen = tuple(sample for sample in dataset.samples if options.split in ("", sample.split))
    samples = samples_of_inputs(readable(replace(dataset, samples=chosen), options.skip_bad).samples, recipe)
    if not samples:
        of_split = f" of split {options.split!r}" if options.split else " that can be read"
        raise TrainError(f"{options.data} has no samples{of_split}; give other data")
    if {sample.label for sample in samples}.isdisjoint(trained.names):
        raise TrainError(f"{options.data} holds no label that the model knows; it knows {', '.join(trained.names)}")
    source, crop = pixel_source(recipe, options.cache), None
    if options.second_look is not None:
        if any(source.is_crop(sample) for sample in samples):
            raise TrainError("--second-look is for whole frames: the device makes no attention crop of a bounding box")
        crop = SecondCrop(options.second_look, CROP_WEIGHT, CROP_WEIGHT)
    images = EvaluationImages(samples, source, recipe.input.size_px, recipe.input.fit)
    options.out.mkdir(parents=True, exist_ok=True)
    with started(options.device, options.threads) as processes:
        network, temperature = trained.network(), trained.temperature or 1.0
        predictions = predict(
            network, trained.labels, images, known, 0, processes.device, options.workers, crop, temperature
        )
        predictions.save(options.out / PREDICTIONS)
        draw_galleries(network, predictions, images, processes.device, options.out)
    print(_report(trained, predictions, samples, dataset.name, options.out))
    return 0


def _report(trained: TrainedModel, predictions: Predictions, samples: Sequence[Sample], data: str, out: Path) -> str:
    """Write the figures to `out`; the summary for people, with reasons to doubt it."""
    notes, references = [], trained.references
    unknown = [sample.label for sample in samples if sample.label not in trained.names]
    if unknown:
        named = ", ".join(sorted(set(unknown)))
        notes.append(f"warning: {len(unknown)} images have a label that the model lacks: {named}; they count as unseen")
    if references is not None:
        queries = predictions.where(predictions.truth != UNSEEN)
        found = retrieval_figures(queries.embedding, queries.truth, references.embedding, references.truth)
        write_json(out / RETRIEVAL, asdict(found))
        reused = int(np.isin(file_digests(samples), references.digest).sum())
        if reused:
            notes.append(f"warning: {reused} of these images were trained on or enrolled; a fair test needs new ones")
    taxa = tuple(label.taxon for label in trained.labels)
    return report_predictions(predictions, taxa, out, f"images of {data}", notes)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no fraction of a side; expected more than 0 and at most 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train evaluate", description="Figures of a run.")
    parser.add_argument(
        "run", type=Path, help="run folder (a cross-validation's gives the pooled figures), or a checkpoint of `enrol`"
    )
    parser.add_argument("--data", type=Path, help="other labelled images (default: what the run held out)")
    parser.add_argument("--format", default="auto", help="layout of the data")
    parser.add_argument("--split", default="", help="only samples of this official split")
    parser.add_argument(
        "--second-look",
        type=_fraction,
        metavar="FRACTION",
        help="with --data: also classify the attention crop, a square of this fraction of the frame's shorter side, "
        "and combine both predictions as the device does, at equal weights",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave samples with problems out instead of stopping")
    parser.add_argument("--out", type=Path, help="folder for the figures on other data")
    parser.add_argument("--workers", type=not_negative, default=0, help="loader processes")
    add_machine_options(parser)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    return parser
