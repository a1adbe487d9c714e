"""`python -m train ablate`: trains each technique alone and compares it with the plain recipe in one table."""

import argparse
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.commands.runner import Parser
from train import TrainError, notice
from train.commands import fit
from train.evaluation.comparison import compare
from train.evaluation.predictions import load_predictions
from train.run_folder import METRICS, check_data, check_recipe

ABLATIONS = Path(__file__).parents[1] / "ablations"


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Options of `fit` are passed on to it."""
    options, rest = _parser().parse_known_args(argv)
    recipe, rows = _read(options.ablation)
    unknown = ", ".join(name for name in options.row or () if name not in rows)
    if unknown:
        raise TrainError(f"the table has no row {unknown}; expected one of {', '.join(rows)}")
    chosen = {name: settings for name, settings in rows.items() if not options.row or name in options.row}
    if "plain" not in chosen:
        chosen = {"plain": rows["plain"]} | chosen
    todo = []  # all rows are checked before the first is trained
    for name, settings in chosen.items():
        folder = options.out / _folder(name)
        changes = [word for setting in settings for word in ("--set", setting)]
        arguments = ["--recipe", recipe, "--out", str(folder), "--resume", *changes, *rest]
        asked = fit.settings_of(arguments)
        if not asked.folds():
            raise TrainError("rows are compared on held-out images, and --all-data holds out none; leave it out")
        if not ((folder / METRICS).exists() and _is_done(folder, asked)):
            todo.append((name, arguments))
    for name, arguments in todo:
        notice(f"row {name!r}")
        code = fit.main(arguments)
        if code:
            return code
    print(_table(options.out, list(chosen)))
    return 0


def _is_done(folder: Path, asked: fit.FitSettings) -> bool:
    """Whether all folds that are asked for are trained. Raises `TrainError` when `folder` holds another training."""
    check_recipe(folder, asked.recipe)
    check_data(folder, asked.data)
    found, folds = {int(fold) for fold in load_predictions(folder).fold}, asked.folds()
    if not found <= folds:
        raise TrainError(f"{folder} held out fold {_listed(found)}, not {_listed(folds)}; give a new --out")
    return found == folds


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _read(name: str) -> tuple[str, dict[str, list[str]]]:
    path = Path(name) if name.endswith(".toml") else ABLATIONS / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        rows = msgspec.convert(document["rows"], dict[str, list[str]])
        recipe: str = document["recipe"]
    except msgspec.ValidationError as error:
        raise TrainError(f'{path}: each row is a list of settings, as `long = ["optimiser.epochs=20"]`') from error
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        known = ", ".join(sorted(file.stem for file in ABLATIONS.glob("*.toml")))
        raise TrainError(
            f"{path} is no table of ablations ({reason}); expected a TOML file or one of {known}"
        ) from error
    if "plain" not in rows:
        raise TrainError(f"{path} has no row `plain`, which the others are compared with")
    folders = [_folder(name) for name in rows]
    unclear = ", ".join(name for name in rows if not _folder(name) or folders.count(_folder(name)) > 1)
    if unclear:
        raise TrainError(f"{path}: {unclear}: rows need names that differ in their letters and digits (a to z, 0 to 9)")
    beside = path.parent / recipe
    return str(beside) if recipe.endswith(".toml") and beside.exists() else recipe, rows


def _table(out: Path, names: Sequence[str]) -> str:
    """The table in Markdown: the plain row, then the others with the largest gain first."""
    plain = load_predictions(out / _folder("plain"))
    found = {name: compare(plain, load_predictions(out / _folder(name))) for name in names}
    lines = ["| row | accuracy | macro-F1 | gain of macro-F1 (95% interval) | McNemar p |", "|---|---|---|---|---|"]
    for name in sorted(names, key=lambda name: (name == "plain", found[name].macro_f1_gain.value), reverse=True):
        own, gain = found[name], found[name].macro_f1_gain
        lines.append(
            f"| {name} | {own.accuracy[1]:.4f} | {own.macro_f1[1]:.4f} | {gain.value:+.4f} "
            f"({gain.low:+.4f} to {gain.high:+.4f}) | {own.p_value:.3g} |"
        )
    return "\n".join(lines)


def _folder(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m train ablate",
        description="Train each row of an ablation that is not trained yet, and print the table.",
        epilog="Everything else (--data, --seed, --cross-validate, --workers, --set, ...) is passed on to `fit`.",
    )
    names = ", ".join(sorted(file.stem for file in ABLATIONS.glob("*.toml")))
    parser.add_argument("ablation", help=f"a TOML file, or one of {names}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows' run folders")
    parser.add_argument("--row", action="append", help="only this row, and the plain one (may be repeated)")
    return parser
