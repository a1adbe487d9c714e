"""From a dataset and a recipe to what is trained on, what is tested with, and what counts as unseen."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.inference.card import Label
from edge.inference.taxonomy import Taxon
from train.data.image_cache import PixelSource, upright_size_px
from train.data.near_duplicates import MOST_SAMPLES, find_near_copies, joined
from train.data.readers import read_dataset, recognise_layout
from train.data.readers.folder import images_below
from train.data.sample import DataError, Dataset, Sample, one_per_frame
from train.data.split import Fold, find_leak, folds
from train.data.taxa_table import card_labels, is_no_animal, read_taxa
from train.data.validate import find_faults, readable, report_faults, without_faults
from train.recipe import Recipe

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


def prepare(path: Path, format_: str, recipe: Recipe, skip_bad: bool, cache: Path | None = None) -> Prepared:
    """Read, check and filter. All faults are listed on standard error before anything else is done. `cache` keeps what
    is decoded to look for near copies, for training to use.

    Raises `DataError` when there are faults that are not to be skipped, or nothing is left.
    """
    dataset = read_dataset(path, format_)
    table, higher = read_taxa(Path(recipe.data.taxa)) if recipe.data.taxa else ({}, ())
    reserved = {label for label in dataset.labels() if is_no_animal(label)}
    known = {*table, *recipe.data.exclude, *reserved} if table else None
    faults = find_faults(dataset, known, recipe.input.crop_margin is not None)
    if faults:
        print(report_faults(faults), file=sys.stderr, flush=True)
    dataset = without_faults(dataset, faults, skip_bad)
    pictures = as_seen(dataset.samples, recipe)
    _tell_unknown(recipe.data.exclude, dataset)
    large = _settle_near_copies(_large_enough(pictures, recipe.data.min_side_px, path), recipe, cache)
    seen = tuple(sample for sample in large if sample.label not in recipe.data.exclude)
    unseen = tuple(sample for sample in large if sample.label in recipe.data.exclude)
    names = tuple(sorted({sample.label for sample in seen}))
    if len(names) < 2:
        raise DataError(f"{path} leaves {len(names)} labels to train on; at least two are needed")
    taxa = {name: table.get(name) or dataset.taxa.get(name) for name in names}
    labels = card_labels(names, {name: taxon for name, taxon in taxa.items() if taxon is not None})
    return Prepared(dataset.name, seen, unseen, labels, higher)


def as_seen(samples: Sequence[Sample], recipe: Recipe) -> tuple[Sample, ...]:
    """The samples that are pictures of their own: each box where boxes are cut out, else each frame and label."""
    return one_per_frame(samples) if recipe.input.crop_margin is None else tuple(samples)


def pixel_source(recipe: Recipe, cache: Path | None) -> PixelSource:
    """How this recipe's samples are read, in training as in evaluation."""
    return PixelSource(recipe.input.size_px, recipe.input.crop_margin, cache)


def choose_folds(prepared: Prepared, recipe: Recipe) -> tuple[Fold, ...]:
    """The recipe's folds, with a warning on each that leaks, or lacks a label."""
    chosen = []
    for fold in folds(prepared.samples, recipe.data.split, recipe.data.folds, recipe.seed):
        warnings = [*find_leak(prepared.samples, fold).warnings(recipe.data.split)]
        if lacking := untaught(prepared, fold):
            warnings.append(f"no training image of {', '.join(lacking)}, which cannot be learned")
        chosen.append(replace(fold, warnings=tuple(warnings)))
    return tuple(chosen)


def untaught(prepared: Prepared, fold: Fold) -> list[str]:
    """Labels of which the fold's training part has no image."""
    return sorted(set(prepared.label_names) - {prepared.samples[place].label for place in fold.train})


def read_backgrounds(path: Path, skip_bad: bool) -> tuple[Sample, ...]:
    """Frames without an animal: the blanks of a labelled dataset, or all pictures of a folder that holds no others.

    All can be read: a broken one would end the work when it is drawn for the first time. Raises `DataError` where there
    are none, or where what cannot be read is not to be skipped.
    """
    dataset = _pictures_alone(path) or read_dataset(path)
    blanks = tuple(sample for sample in dataset.samples if sample.label.lower() in _BLANK_NAMES)
    if not blanks:
        labels = ", ".join(dataset.labels()[:5])
        raise DataError(
            f"{path} has no label blank or empty (it has {labels}); its pictures may show animals. Give backgrounds "
            "that are labelled so, or a folder with pictures of none"
        )
    backgrounds = readable(replace(dataset, name=str(path), samples=blanks), skip_bad).samples
    if not backgrounds:
        raise DataError(f"{path} holds no background that can be read; give frames without an animal")
    return backgrounds


def _pictures_alone(path: Path) -> Dataset | None:
    """Those of a folder with no table and no class folder; `None` for any other data."""
    if not path.is_dir() or recognise_layout(path) != "folder":
        return None
    files = images_below(path)
    if not files or any(file.parent != path for file in files):
        return None
    return Dataset(path.name, tuple(Sample(file, "blank", root=path) for file in files))


def _tell_unknown(excluded: Sequence[str], dataset: Dataset) -> None:
    """A misspelt label would be trained on; one of the recipe's that other data has not is no fault."""
    unknown = sorted({*excluded} - {*dataset.labels()})
    if unknown:
        _say(
            f"warning: data.exclude names {', '.join(unknown)}, of which the data has no sample; "
            f"its labels are {', '.join(dataset.labels()[:20])}"
        )


def _large_enough(samples: Sequence[Sample], least_px: int, path: Path) -> Sequence[Sample]:
    """Without those whose shorter side is less, which are told. Raises `DataError` when none is left."""
    large = [sample for sample in samples if _min_side_px(sample, least_px)]
    if len(large) < len(samples):
        small = Counter(sample.label for sample in samples) - Counter(sample.label for sample in large)
        of_labels = ", ".join(f"{count} {label}" for label, count in small.most_common())
        _say(f"{small.total()} samples are left out, smaller than data.min_side_px {least_px}: {of_labels}")
    if not large:
        raise DataError(f"no sample of {path} is left; mend what is listed above, or lower data.min_side_px")
    return large


def _settle_near_copies(samples: Sequence[Sample], recipe: Recipe, cache: Path | None) -> Sequence[Sample]:
    """What the recipe wants done about them; what is found is told on standard error."""
    settings = recipe.data
    wanted = settings.near_copies == "join" or settings.contradicted == "leave_out"
    if not wanted and (settings.near_copies == "ignore" or settings.split == "official"):
        return samples
    if len(samples) > MOST_SAMPLES:
        if not wanted:
            return samples
        raise DataError(
            f"near copies are looked for among {MOST_SAMPLES:,} samples at most, not {len(samples):,}; "
            "set data.near_copies=ignore and data.contradicted=keep"
        )
    copies = find_near_copies(samples, pixel_source(recipe, cache))
    contradicted = copies.contradicted([sample.label for sample in samples])
    across = copies.across([sample.sequence or str(sample.path) for sample in samples])
    if settings.contradicted == "leave_out":
        for place in contradicted:
            _say(f"contradicted: {samples[place].name}: its near copies are not {samples[place].label}")
        _say(f"{len(contradicted)} samples are left out, for their near copies have another label")
    elif contradicted:
        _say(f"warning: {len(contradicted)} samples have another label than their near copies; see data.contradicted")
    if settings.near_copies == "join":
        places = len({sample.location for sample in samples} - {""})
        samples = joined(samples, copies)
        left = len({sample.location for sample in samples} - {""})
        _say(
            f"{across} samples have near copies in another sequence: those sequences count as one, and so do their "
            f"locations ({left} of {places})"
        )
    elif across:
        _say(f"warning: {across} samples have near copies in another sequence; see data.near_copies")
    left_out = set(contradicted) if settings.contradicted == "leave_out" else set()
    return [sample for place, sample in enumerate(samples) if place not in left_out]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _min_side_px(sample: Sample, least: int) -> bool:
    """Whether the sample's shorter side (of the box where there is one) has `least` pixels."""
    if least <= 0:
        return True
    size = sample.size_px or upright_size_px(sample.path)
    if sample.box is not None:
        return min(sample.box.width * size[0], sample.box.height * size[1]) >= least
    return min(size) >= least
