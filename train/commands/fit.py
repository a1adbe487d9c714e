"""`python -m train fit`: train a classifier by a recipe: one fold, all folds of a cross-validation, or all data."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from edge.commands.runner import Parser
from train import TrainError
from train.commands.runner import not_negative
from train.data.image_cache import default_cache
from train.data.prepare import Prepared, choose_folds, prepare, read_backgrounds
from train.data.split import Fold
from train.evaluation.predictions import load_predictions
from train.evaluation.report import missing_folds, report_run
from train.fit.loop import check_settings
from train.recipe import RECIPES, Recipe, load_recipe
from train.run_folder import METRICS, begin_run, check_run, write_labels
from train.runtime.distributed import Processes, started
from train.runtime.training_log import summary_writer
from train.trainer import RunOptions, check_fold, train_fold


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a `fit` command was asked for."""

    recipe: Recipe
    data: Path
    format_: str
    out: Path
    held_out: Literal["one fold", "each fold", "nothing"]
    fold: int
    """The fold that is held out, from 0, where it is one."""
    figures_of: Path | None
    """The cross-validation whose figures go onto the model card."""
    resume: bool
    skip_bad: bool
    backgrounds: Path | None
    cache: Path | None
    workers: int
    tensorboard: bool

    def folds(self) -> set[int]:
        """The folds that are held out."""
        every = set(range(self.recipe.fold_count))
        return {"one fold": {self.fold}, "each fold": every, "nothing": set[int]()}[self.held_out]


@dataclass(frozen=True, slots=True)
class _Training:
    """One of the trainings of a command."""

    number: int
    """The fold's number, from 0."""
    fold: Fold
    folder: Path


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = settings_of(argv)
    with started(options.device) as processes:
        _run(settings, processes, [*sys.orig_argv[:1], "-m", "train", "fit", *argv])
    return 0


def settings_of(argv: Sequence[str]) -> FitSettings:
    """What `fit` would do with these arguments."""
    options = _parser().parse_args(argv)
    changes = [*options.set, *([f"seed={options.seed}"] if options.seed is not None else [])]
    return FitSettings(
        recipe=load_recipe(options.recipe, changes),
        data=options.data,
        format_=options.format,
        out=options.out,
        held_out="nothing" if options.all_data else "each fold" if options.cross_validate else "one fold",
        fold=options.fold,
        figures_of=options.figures_of,
        resume=options.resume,
        skip_bad=options.skip_bad,
        backgrounds=options.backgrounds,
        cache=None if options.no_cache else options.cache,
        workers=options.workers,
        tensorboard=options.tensorboard,
    )


def _run(settings: FitSettings, processes: Processes, command: list[str]) -> None:
    recipe, out = settings.recipe, settings.out
    # Whatever can be refused is refused here, before hours of reading and before anything is written.
    check_settings(recipe, processes)
    if settings.tensorboard:
        summary_writer()
    if settings.figures_of and settings.held_out != "nothing":
        raise TrainError("--figures-of goes onto the card of the model to ship; give it with --all-data")
    figures = _figures_of(settings.figures_of) if settings.figures_of else {}
    if not 0 <= settings.fold < recipe.fold_count:
        raise TrainError(f"there is no fold {settings.fold}; the split has folds 0 to {recipe.fold_count - 1}")
    if processes.first:
        check_run(out, recipe, settings.resume)
    backgrounds = read_backgrounds(settings.backgrounds, settings.skip_bad) if settings.backgrounds else ()
    prepared = prepare(settings.data, settings.format_, recipe, settings.skip_bad, settings.cache)
    options = RunOptions(settings.resume, settings.workers, settings.tensorboard, settings.cache, backgrounds)
    trainings = _trainings(prepared, settings)
    for training in trainings:
        check_fold(recipe, prepared, training.fold, training.number, training.folder, processes, options)
    if processes.first:
        begin_run(out, recipe, command, settings.data)
        write_labels(out, prepared.labels)
        for training in trainings:
            training.folder.mkdir(exist_ok=True)
        _announce(f"results will be in {out}")
    processes.wait()
    for training in trainings:
        if processes.first:
            _announce(_description(training, settings))
        train_fold(recipe, prepared, training.fold, training.number, training.folder, processes, options, figures)
    if processes.first:
        if settings.held_out != "nothing":
            print(report_run(out), flush=True)
        _announce(f"results are in {out}")


def _trainings(prepared: Prepared, settings: FitSettings) -> list[_Training]:
    """The trainings in their order."""
    if settings.held_out == "nothing":
        return [_Training(0, Fold(tuple(range(len(prepared.samples))), ()), settings.out)]
    folds = choose_folds(prepared, settings.recipe)
    if settings.held_out == "each fold":
        return [_Training(number, fold, settings.out / f"fold-{number}") for number, fold in enumerate(folds)]
    return [_Training(settings.fold, folds[settings.fold], settings.out)]


def _description(training: _Training, settings: FitSettings) -> str:
    """One line: which training begins, on how many images, and where its results will be."""
    images, count = len(training.fold.train), settings.recipe.fold_count
    if settings.held_out == "nothing":
        return f"training on all {images} images, results in {training.folder}"
    return (
        f"fold {training.number + 1} of {count} (--fold {training.number}): {images} training images, "
        f"{len(training.fold.test)} test images, results in {training.folder}"
    )


def _announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _figures_of(run: Path) -> dict[str, object]:
    """Figures of a cross-validation, for the checkpoint that is trained on all of its data."""
    missing = missing_folds(run, load_predictions(run))
    if missing:
        numbers = ", ".join(map(str, sorted(missing)))
        raise TrainError(f"{run} is no complete cross-validation: fold {numbers} is missing; give one with all folds")
    try:
        figures: dict[str, object] = json.loads((run / METRICS).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{run} holds no {METRICS}; run the cross-validation first") from error
    return {"cross_validation": figures}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train fit", description="Train a classifier by a recipe.")
    names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    parser.add_argument("--recipe", required=True, help=f"a TOML file, or one of {names}")
    parser.add_argument("--data", required=True, type=Path, help="folder or table of labelled images")
    parser.add_argument("--format", default="auto", help="layout of the data; auto recognises it")
    parser.add_argument("--out", required=True, type=Path, help="run folder to make")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--seed", type=int, help="seed of all random choices (default: the recipe's)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, default=0, help="the fold to hold out (default 0)")
    which.add_argument("--cross-validate", action="store_true", help="train once for each fold and pool the figures")
    which.add_argument("--all-data", action="store_true", help="hold nothing out: the model to ship")
    parser.add_argument(
        "--figures-of", type=Path, metavar="RUN", help="with --all-data: cross-validation to quote in the card"
    )
    parser.add_argument("--resume", action="store_true", help="continue after the last completed epoch")
    parser.add_argument("--skip-bad", action="store_true", help="leave samples with problems out instead of stopping")
    parser.add_argument(
        "--backgrounds", type=Path, help="frames without animals, for pasting and background replacement"
    )
    parser.add_argument(
        "--workers", type=not_negative, default=max(0, min(8, (os.cpu_count() or 1) - 2)), help="loader processes"
    )
    parser.add_argument("--threads", type=not_negative, help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    parser.add_argument("--no-cache", action="store_true", help="decode anew each time")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events as well")
    return parser
