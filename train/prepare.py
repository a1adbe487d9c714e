"""From a dataset and a recipe to what is trained on, what is tested with, and what counts as unseen."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.card import Label
from edge.taxonomy import Taxon
from train.datasets import read_dataset
from train.faults import find_faults, report_faults, without_faults
from train.recipe import Recipe
from train.sample import DataError, Sample
from train.split import Fold, find_leak, folds
from train.taxa_table import card_labels, read_taxa

_BLANK_NAMES = frozenset({"blank", "empty"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of a recipe."""

    data_name: str
    samples: tuple[Sample, ...]
    """Of labels that are trained."""
    unseen: tuple[Sample, ...]
    """Of labels that the recipe excludes: they test the rejection of unknown species."""
    labels: tuple[Label, ...]
    higher_taxa: tuple[Taxon, ...]

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)


def prepare(path: Path, format_: str, recipe: Recipe, skip_bad: bool) -> Prepared:
    """Read, check and filter. All faults are listed on standard error before anything else is done.

    Raises `DataError` when there are faults that are not to be skipped, or nothing is left.
    """
    dataset = read_dataset(path, format_)
    table, higher = read_taxa(Path(recipe.data.taxa)) if recipe.data.taxa else ({}, ())
    known = set(table) | set(recipe.data.exclude) if table else None
    faults = find_faults(dataset, known)
    if faults:
        print(report_faults(faults), file=sys.stderr, flush=True)
    dataset = without_faults(dataset, faults, skip_bad)
    large = [sample for sample in dataset.samples if _min_side_px(sample, recipe.data.min_side_px)]
    seen = tuple(sample for sample in large if sample.label not in recipe.data.exclude)
    unseen = tuple(sample for sample in large if sample.label in recipe.data.exclude)
    names = tuple(sorted({sample.label for sample in seen}))
    if len(names) < 2:
        raise DataError(f"{path} leaves {len(names)} labels to train on; at least two are needed")
    taxa = {name: table.get(name) or dataset.taxa.get(name) for name in names}
    labels = card_labels(names, {name: taxon for name, taxon in taxa.items() if taxon is not None})
    return Prepared(dataset.name, seen, unseen, labels, higher)


def choose_folds(prepared: Prepared, recipe: Recipe) -> tuple[Fold, ...]:
    """The recipe's folds, with a warning on standard error for each that leaks."""
    chosen = folds(prepared.samples, recipe.data.split, recipe.data.folds, recipe.seed)
    for number, fold in enumerate(chosen):
        for warning in find_leak(prepared.samples, fold).warnings(recipe.data.split):
            print(f"fold {number}: warning: {warning}", file=sys.stderr, flush=True)
    return chosen


def read_backgrounds(path: Path) -> tuple[Sample, ...]:
    """Frames without an animal: the blanks of a labelled dataset, or all images of one that names none."""
    samples: Sequence[Sample] = read_dataset(path).samples
    blanks = tuple(sample for sample in samples if sample.label.lower() in _BLANK_NAMES)
    return blanks or tuple(samples)


def _min_side_px(sample: Sample, least: int) -> bool:
    """Whether the sample's shorter side (of the box where there is one) has `least` pixels."""
    if least <= 0:
        return True
    size = sample.size_px or _header_size_px(sample.path)
    if sample.box is not None:
        return min(sample.box.width * size[0], sample.box.height * size[1]) >= least
    return min(size) >= least


def _header_size_px(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size
