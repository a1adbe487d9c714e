"""`python -m train fit`: train a classifier by a recipe: one fold, all folds of a cross-validation, or all data."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge.commands.runner import Parser
from train import TrainError, notice
from train.commands.runner import add_machine_options, not_negative
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
    skip_bad: bool
    backgrounds: Path | None
    run: RunOptions

    def folds(self) -> set[int]:
        """The folds that are held out."""
        every = set(range(self.recipe.fold_count))
        return {"one fold": {self.fold}, "each fold": every, "nothing": set[int]()}[self.held_out]


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    settings = settings_of(argv)
    with started(options.device, options.threads) as processes:
        _run(settings, processes, [*sys.orig_argv[:1], "-m", "train", "fit", *argv])
    return 0


def settings_of(argv: Sequence[str]) -> FitSettings:
    """What `fit` would do with these arguments."""
    options = _parser().parse_args(argv)
    cache = None if options.no_cache else options.cache
    changes = [*options.set, *([f"seed={options.seed}"] if options.seed is not None else [])]
    return FitSettings(
        recipe=load_recipe(options.recipe, changes),
        data=options.data,
        format_=options.format,
        out=options.out,
        held_out="nothing" if options.all_data else "each fold" if options.cross_validate else "one fold",
        fold=options.fold,
        figures_of=options.figures_of,
        skip_bad=options.skip_bad,
        backgrounds=options.backgrounds,
        run=RunOptions(options.resume, options.workers, options.tensorboard, cache),
    )


def _run(settings: FitSettings, processes: Processes, command: list[str]) -> None:
    recipe, out = settings.recipe, settings.out
    # Whatever can be refused is refused here, before hours of reading and before anything is written.
    check_settings(recipe, processes)
    if settings.run.tensorboard:
        summary_writer()
    if settings.figures_of and settings.held_out != "nothing":
        raise TrainError("--figures-of goes onto the card of the model to ship; give it with --all-data")
    figures = _figures_of(settings.figures_of) if settings.figures_of else {}
    if not 0 <= settings.fold < recipe.fold_count:
        raise TrainError(f"there is no fold {settings.fold}; the split has folds 0 to {recipe.fold_count - 1}")
    if processes.first:
        check_run(out, recipe, settings.run.resume)
    backgrounds = read_backgrounds(settings.backgrounds, settings.skip_bad) if settings.backgrounds else ()
    options = replace(settings.run, backgrounds=backgrounds)
    prepared = prepare(settings.data, settings.format_, recipe, settings.skip_bad, options.cache)
    trainings = _trainings(prepared, settings)
    for number, fold, folder in trainings:
        check_fold(recipe, prepared, fold, number, folder, processes, options)
    if processes.first:
        begin_run(out, recipe, command, settings.data)
        write_labels(out, prepared.labels)
        for _, _, folder in trainings:
            folder.mkdir(exist_ok=True)
        notice(f"results will be in {out}")
    processes.wait()
    for number, fold, folder in trainings:
        if processes.first:
            notice(_description(number, fold, folder, settings))
        train_fold(recipe, prepared, fold, number, folder, processes, options, figures)
    if processes.first:
        if settings.held_out != "nothing":
            print(report_run(out), flush=True)
        notice(f"results are in {out}")


def _trainings(prepared: Prepared, settings: FitSettings) -> list[tuple[int, Fold, Path]]:
    """The trainings in their order: (the fold's number, from 0, the fold, the folder of the results)."""
    if settings.held_out == "nothing":
        return [(0, Fold(tuple(range(len(prepared.samples))), ()), settings.out)]
    folds = choose_folds(prepared, settings.recipe)
    if settings.held_out == "each fold":
        return [(number, fold, settings.out / f"fold-{number}") for number, fold in enumerate(folds)]
    return [(settings.fold, folds[settings.fold], settings.out)]


def _description(number: int, fold: Fold, folder: Path, settings: FitSettings) -> str:
    """One line: which training begins, on how many images, and where its results will be."""
    images, count = len(fold.train), settings.recipe.fold_count
    if settings.held_out == "nothing":
        return f"training on all {images} images, results in {folder}"
    return (
        f"fold {number + 1} of {count} (--fold {number}): {images} training images, {len(fold.test)} test images, "
        f"results in {folder}"
    )


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
    add = parser.add_argument
    names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    add("--recipe", required=True, help=f"a TOML file, or one of {names}")
    add("--data", required=True, type=Path, help="folder or table of labelled images")
    add("--format", default="auto", help="layout of the data; auto recognises it")
    add("--out", required=True, type=Path, help="run folder to make")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe")
    add("--seed", type=int, help="seed of all random choices (default: the recipe's)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, default=0, help="the fold to hold out (default 0)")
    which.add_argument("--cross-validate", action="store_true", help="train once for each fold and pool the figures")
    which.add_argument("--all-data", action="store_true", help="hold nothing out: the model to ship")
    add("--figures-of", type=Path, metavar="RUN", help="with --all-data: cross-validation to quote in the card")
    add("--resume", action="store_true", help="continue after the last completed epoch")
    add("--skip-bad", action="store_true", help="leave samples with problems out instead of stopping")
    add("--backgrounds", type=Path, help="frames without animals, for pasting and background replacement")
    add("--workers", type=not_negative, default=max(0, min(8, (os.cpu_count() or 1) - 2)), help="loader processes")
    add_machine_options(parser)
    add("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    add("--no-cache", action="store_true", help="decode anew each time")
    add("--tensorboard", action="store_true", help="write TensorBoard events as well")
    return parser
