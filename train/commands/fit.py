"""`python -m train fit`: train by a recipe."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from train import TrainError
from train.commands.runner import not_negative
from train.data.image_cache import default_cache
from train.data.prepare import Prepared, choose_folds, prepare, read_backgrounds
from train.data.split import Fold
from train.evaluation.predictions import of_run
from train.evaluation.report import missing_folds, report_run
from train.fit.loop import check_settings
from train.recipe import RECIPES, Recipe, load_recipe
from train.run_folder import METRICS, begin_run, check_run, write_labels
from train.runtime.distributed import Processes, started
from train.runtime.training_log import summary_writer
from train.trainer import How, check_fold, train_fold


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = _recipe(options)
    with started(options.device) as processes:
        return _run(recipe, options, processes, [*sys.orig_argv[:1], "-m", "train", "fit", *argv])


def asked_for(argv: Sequence[str]) -> tuple[Recipe, Path, set[int]]:
    """The recipe that `fit` would run with these arguments, its data, and the folds that it would hold out."""
    options = _parser().parse_args(argv)
    recipe, one = _recipe(options), set() if options.all_data else {options.fold}
    return recipe, options.data, set(range(recipe.fold_count)) if options.cross_validate else one


def _recipe(options: argparse.Namespace) -> Recipe:
    changes = [*options.set, *([f"seed={options.seed}"] if options.seed is not None else [])]
    return load_recipe(options.recipe, changes)


def _run(recipe: Recipe, options: argparse.Namespace, processes: Processes, command: list[str]) -> int:
    # What can be refused is refused here, before hours of reading and before anything is written.
    check_settings(recipe, processes)
    if options.tensorboard:
        summary_writer()
    if options.figures_of and not options.all_data:
        raise TrainError("--figures-of goes onto the card of the model to ship; give it with --all-data")
    figures = _figures_of(options.figures_of) if options.figures_of else {}
    _check_fold_number(options.fold, recipe.fold_count)
    if processes.first:
        check_run(options.out, recipe, options.resume)
    backgrounds = read_backgrounds(options.backgrounds, options.skip_bad) if options.backgrounds else ()
    cache = None if options.no_cache else options.cache
    prepared = prepare(options.data, options.format, recipe, options.skip_bad, cache)
    how = How(options.resume, options.workers, options.tensorboard, cache, backgrounds)
    out: Path = options.out
    parts = _parts(prepared, recipe, options)
    for number, fold, folder in parts:
        check_fold(recipe, prepared, fold, number, folder, processes, how)
    if processes.first:
        begin_run(out, recipe, command, options.data)
        write_labels(out, prepared.labels)
        for _, _, folder in parts:
            folder.mkdir(exist_ok=True)
    processes.wait()
    for number, fold, folder in parts:
        train_fold(recipe, prepared, fold, number, folder, processes, how, figures)
    if processes.first and not options.all_data:
        print(report_run(out))
    return 0


def _parts(prepared: Prepared, recipe: Recipe, options: argparse.Namespace) -> list[tuple[int, Fold, Path]]:
    """(number, fold, its run folder) of each training."""
    if options.all_data:
        return [(0, Fold(tuple(range(len(prepared.samples))), ()), options.out)]
    chosen = choose_folds(prepared, recipe)
    if options.cross_validate:
        return [(number, fold, options.out / f"fold-{number}") for number, fold in enumerate(chosen)]
    return [(options.fold, chosen[options.fold], options.out)]


def _check_fold_number(number: int, count: int) -> None:
    if not 0 <= number < count:
        raise TrainError(f"there is no fold {number}; the split has folds 0 to {count - 1}")


def _figures_of(run: Path) -> dict[str, object]:
    """Figures of a cross-validation, for the checkpoint that is trained on all of its data."""
    missing = missing_folds(run, of_run(run))
    if missing:
        numbers = ", ".join(map(str, sorted(missing)))
        raise TrainError(f"{run} is no whole cross-validation, fold {numbers} is missing; quote one that has all folds")
    try:
        figures: dict[str, object] = json.loads((run / METRICS).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainError(f"{run} holds no {METRICS}; run the cross-validation first") from error
    return {"cross_validation": figures}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train fit", description="Train a classifier by a recipe.")
    names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
    parser.add_argument("--recipe", required=True, help=f"a TOML file, or one of {names}")
    parser.add_argument("--data", required=True, type=Path, help="folder or table of labelled images")
    parser.add_argument("--format", default="auto", help="layout of the data; auto recognises it")
    parser.add_argument("--out", required=True, type=Path, help="run folder to make")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe"
    )
    parser.add_argument("--seed", type=int, help="of everything that is random (default: the recipe's)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fold", type=int, default=0, help="the fold to hold out (default 0)")
    which.add_argument("--cross-validate", action="store_true", help="train once for each fold and pool the figures")
    which.add_argument("--all-data", action="store_true", help="hold nothing out: the model to ship")
    parser.add_argument(
        "--figures-of", type=Path, metavar="RUN", help="with --all-data: cross-validation to quote in the card"
    )
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch")
    parser.add_argument("--skip-bad", action="store_true", help="leave faulty samples out instead of stopping")
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
