"""`python -m train evaluate`: figures of a run, or of a checkpoint on other data."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from train import TrainError
from train.commands.runner import not_negative
from train.data.image_cache import default_cache
from train.data.prepare import as_seen, pixel_source
from train.data.readers import read_dataset
from train.data.validate import readable
from train.evaluation.predictions import UNSEEN, predict
from train.evaluation.report import report_predictions, report_run
from train.evaluation.retrieval import retrieval_figures
from train.recipe import recipe_from_document
from train.run_folder import PREDICTIONS, RETRIEVAL, check_writable, holds_run, write_json
from train.runtime.distributed import started
from train.trained_model import Trained, file_digests
from train.trainer import draw_galleries


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.data is None:
        for option, value in (
            ("--second-look", options.second_look),
            ("--out", options.out),
            ("--split", options.split),
        ):
            if value:
                raise TrainError(f"{option} is for images given with --data; the run's own figures stay in its folder")
        print(report_run(options.run))
        return 0
    if options.out is None:
        raise TrainError("evaluating on other data needs --out for its figures")
    check_writable(options.out)
    if holds_run(options.out):
        raise TrainError(f"{options.out} holds a run, whose figures these would replace; give a folder of its own")
    if options.threads:
        torch.set_num_threads(options.threads)
    print(_evaluate_on(options))
    return 0


def _evaluate_on(options: argparse.Namespace) -> str:
    trained = Trained(options.run)
    known, recipe = trained.prototypes(), recipe_from_document(trained.checkpoint.recipe)
    dataset = read_dataset(options.data, options.format)
    chosen = tuple(sample for sample in dataset.samples if options.split in ("", sample.split))
    samples = as_seen(readable(replace(dataset, samples=chosen), options.skip_bad).samples, recipe)
    if not samples:
        of_split = f" of split {options.split!r}" if options.split else " that can be read"
        raise TrainError(f"{options.data} has no samples{of_split}; give other data")
    if {sample.label for sample in samples}.isdisjoint(trained.names):
        raise TrainError(f"{options.data} holds no label that the model knows; it knows {', '.join(trained.names)}")
    source = pixel_source(recipe, options.cache)
    options.out.mkdir(parents=True, exist_ok=True)
    with started(options.device) as processes:
        network = trained.network()
        predictions = predict(
            network, trained.names, samples, known, 0, source, recipe.input.size_px, recipe.input.fit,
            processes.device, options.workers, options.second_look,
        )  # fmt: skip
        predictions.save(options.out / PREDICTIONS)
        draw_galleries(network, predictions, samples, source, recipe, processes.device, options.out)
    notes, lessons = [], trained.lessons
    strangers = [sample.label for sample in samples if sample.label not in trained.names]
    if strangers:
        named = ", ".join(sorted(set(strangers)))
        notes.append(
            f"warning: {len(strangers)} images have a label that the model lacks: {named}; they count as unseen"
        )
    if lessons is not None:
        queries = predictions.where(predictions.truth != UNSEEN)
        found = retrieval_figures(queries.embedding, queries.truth, lessons.embedding, lessons.truth)
        write_json(options.out / RETRIEVAL, asdict(found))
        taught = int(np.isin(file_digests(samples), lessons.digest).sum())
        if taught:
            notes.append(f"warning: the model was taught with {taught} of these images; new ones tell more")
    taxa = tuple(label.taxon for label in trained.labels)
    return report_predictions(predictions, taxa, options.out, f"images of {dataset.name}", notes)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is no part of a side; expected more than 0 and at most 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train evaluate", description="Figures of a run.")
    parser.add_argument(
        "run", type=Path, help="run folder (a cross-validation's gives the pooled figures), or a checkpoint of `enrol`"
    )
    parser.add_argument("--data", type=Path, help="other labelled images (default: what the run held out)")
    parser.add_argument("--format", default="auto", help="layout of the data")
    parser.add_argument("--split", default="", help="only samples of this official split")
    parser.add_argument("--second-look", type=_fraction, metavar="FRACTION",
                        help="on other data: look again at what drew attention, a square of this side over the shorter "
                        "one, and answer by the mean of both looks")  # fmt: skip
    parser.add_argument("--skip-bad", action="store_true", help="leave faulty samples out instead of stopping")
    parser.add_argument("--out", type=Path, help="folder for the figures on other data")
    parser.add_argument("--workers", type=not_negative, default=0, help="loader processes")
    parser.add_argument("--threads", type=not_negative, help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    return parser
