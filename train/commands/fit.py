"""`python -m train fit`: train by a recipe."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from train import TrainError
from train.pixels import default_cache
from train.predictions import join
from train.prepare import choose_folds, prepare, read_backgrounds
from train.processes import Processes, started
from train.recipe import RECIPES, Recipe, load_recipe
from train.run_folder import METRICS, PREDICTIONS, begin_run, write_labels
from train.split import Fold
from train.trainer import How, train_fold


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    changes = [*options.set, *([f"seed={options.seed}"] if options.seed is not None else [])]
    recipe = load_recipe(options.recipe, changes)
    with started(options.device) as processes:
        return _run(recipe, options, processes, [*sys.orig_argv[:1], "-m", "train", "fit", *argv])


def _run(recipe: Recipe, options: argparse.Namespace, processes: Processes, command: list[str]) -> int:
    cache = None if options.no_cache else options.cache
    prepared = prepare(options.data, options.format, recipe, options.skip_bad, cache)
    how = How(
        options.resume,
        options.workers,
        options.tensorboard,
        cache,
        read_backgrounds(options.backgrounds) if options.backgrounds else (),
    )
    out: Path = options.out
    if processes.first:
        begin_run(out, recipe, command, options.resume)
        write_labels(out, prepared.labels)
    processes.wait()
    if options.all_data:
        whole = Fold(tuple(range(len(prepared.samples))), ())
        figures = _figures_of(options.figures_of) if options.figures_of else {}
        train_fold(recipe, prepared, whole, 0, out, processes, how, figures)
        return 0
    chosen = choose_folds(prepared, recipe)
    if not options.cross_validate:
        if not 0 <= options.fold < len(chosen):
            raise TrainError(f"there is no fold {options.fold}; the split has folds 0 to {len(chosen) - 1}")
        train_fold(recipe, prepared, chosen[options.fold], options.fold, out, processes, how)
    else:
        parts = []
        for number, fold in enumerate(chosen):
            folder = out / f"fold-{number}"
            if processes.first:
                folder.mkdir(exist_ok=True)
            processes.wait()
            parts.append(train_fold(recipe, prepared, fold, number, folder, processes, how))
        if processes.first:
            join([part for part in parts if part is not None]).save(out / PREDICTIONS)
    if processes.first:
        from train.report import report_run

        print(report_run(out))
    return 0


def _figures_of(run: Path) -> dict[str, object]:
    """Figures of a cross-validation, for the checkpoint that is trained on all of its data."""
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
        "--workers", type=int, default=max(0, min(8, (os.cpu_count() or 1) - 2)), help="loader processes"
    )
    parser.add_argument("--threads", type=int, help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where decoded images are kept")
    parser.add_argument("--no-cache", action="store_true", help="decode anew each time")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events as well")
    return parser
