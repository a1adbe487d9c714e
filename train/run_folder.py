"""The folder of a training: its recipe, environment, split, labels, and the names of its other files."""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from edge.inference.card import Label, from_document, to_document
from edge.inference.taxonomy import Taxon
from train import TrainError
from train.data.sample import Sample
from train.data.split import Fold
from train.recipe import Recipe, recipe_from_document

CHECKPOINT, PREDICTIONS, METRICS, PROTOTYPES = "checkpoint.pt", "predictions.npz", "metrics.json", "prototypes.npz"
RETRIEVAL, LOG = "retrieval.json", "log.jsonl"
_RECIPE, _ENVIRONMENT, _SPLIT, _LABELS = "recipe.json", "environment.json", "split.csv", "labels.json"
_WARNINGS = "warnings.json"
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "simplejpeg", "scikit-learn")


def check_run(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Raises `TrainError` where a run cannot begin, rather than mixing two.

    A training that ended before its first step is no run: the folder may be used for another recipe.
    """
    check_writable(folder)
    if any(file.exists() for part in (folder, *folder.glob("fold-*")) for file in (part / LOG, part / CHECKPOINT)):
        if not resume:
            raise TrainError(f"{folder} holds a run already; pass --resume to continue it, or give another --out")
        check_recipe(folder, recipe)


def begin_run(folder: Path, recipe: Recipe, arguments: Sequence[str], data: Path) -> None:
    """Make the folder and write recipe and environment."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / _RECIPE, recipe.document())
    write_json(folder / _ENVIRONMENT, _environment(arguments, data))


def check_writable(folder: Path) -> None:
    """Raises `TrainError` for a path that is no writable folder and cannot become one."""
    place = next(part for part in (folder, *folder.parents) if part.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = "cannot be written to" if place.is_dir() else "is a file"
        raise TrainError(f"{folder} cannot be a folder of results: {place} {why}; give another --out")


def holds_run(folder: Path) -> bool:
    """Whether the folder holds a training."""
    return (folder / _RECIPE).exists() or (folder / CHECKPOINT).exists()


def check_data(folder: Path, data: Path) -> None:
    """Raises `TrainError` when the run in `folder` says that it was trained on other data."""
    path = folder / _ENVIRONMENT
    stored = _read(path).get("data") if path.exists() else None
    if stored is not None and Path(stored) != data.resolve():
        raise TrainError(f"{folder} was trained on {stored}; give that as --data, or a new --out")


def check_recipe(folder: Path, recipe: Recipe) -> None:
    """Raises `TrainError` when the run in `folder` is another recipe's, or names another seed."""
    path = folder / _RECIPE
    if path.exists() and _read(path) != recipe.document():
        raise TrainError(f"{folder} was trained by another recipe or seed; continue with that one, or give a new --out")


def stored_recipe(folder: Path) -> Recipe:
    """The recipe of the run. Raises `TrainError` for a folder without one."""
    return recipe_from_document(_stored(folder, _RECIPE))


def _stored(folder: Path, name: str) -> Any:
    """The content of the JSON file `name` of a run, or of the first fold of a cross-validation that has it."""
    files = _files(folder, name)
    if not files:
        raise TrainError(f"{folder} holds no run; give a folder that `python -m train fit --out` made")
    return _read(files[0])


def _files(folder: Path, name: str) -> list[Path]:
    """The file `name` of a run and of the folds of a cross-validation, where it is there."""
    return [file for file in (folder / name, *sorted(folder.glob(f"fold-*/{name}"))) if file.exists()]


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def write_labels(folder: Path, labels: Sequence[Label]) -> None:
    """Write `labels.json`: the labels with their taxa, as on the model card."""
    write_json(folder / _LABELS, [to_document(label) for label in labels])


def stored_labels(folder: Path) -> tuple[Label, ...]:
    """The labels of `write_labels`."""
    return tuple(from_document(Label, item) for item in _stored(folder, _LABELS))


def stored_taxa(folder: Path, labels: Sequence[str]) -> tuple[Taxon | None, ...]:
    """The taxon of each of `labels`, from the run's `labels.json`."""
    taxa = {label.name: label.taxon for label in stored_labels(folder)}
    return tuple(taxa.get(label) for label in labels)


def write_split(folder: Path, samples: Sequence[Sample], fold: Fold) -> None:
    """Write `split.csv` (the part of each sample) and `warnings.json` (reasons to doubt the test figures)."""
    parts = dict.fromkeys(fold.train, "train") | dict.fromkeys(fold.test, "test")
    rows = [
        {
            "part": parts[place],
            "label": sample.label,
            "location": sample.location,
            "sequence": sample.sequence,
            "sample": sample.name,
        }
        for place, sample in enumerate(samples)
        if place in parts
    ]
    write_table(folder / _SPLIT, rows)
    write_json(folder / _WARNINGS, fold.warnings)


def stored_warnings(folder: Path) -> list[str]:
    """The warnings on the split of a run, or on each fold of a cross-validation."""
    found = []
    for file in _files(folder, _WARNINGS):
        fold = "" if file.parent == folder else f"{file.parent.name}: "
        found += [f"{fold}warning: {line}" for line in _read(file)]
    return found


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, document: Any) -> None:
    """Write indented JSON, whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def stored_retrieval(folder: Path) -> dict[str, float]:
    """The retrieval figures of a run, or their mean over folds, weighted by images; empty where there are none."""
    parts = [part for file in _files(folder, RETRIEVAL) if (part := _read(file))["images"]]
    images = sum(part["images"] for part in parts)
    names = [name for name in parts[0] if name != "images"] if parts else []
    return {name: sum(part[name] * part["images"] for part in parts) / images for name in names}


def _environment(arguments: Iterable[str], data: Path) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(arguments),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "data": str(data.resolve()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the code runs from; `None` outside of a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
