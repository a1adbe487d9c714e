"""Reads and checks a dataset, and splits it as the recipe says into training, test and unseen samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.inference.card import Label
from edge.inference.taxonomy import Taxon
from train import notice
from train.data.image_cache import PixelSource, upright_size_px
from train.data.near_duplicates import MOST_SAMPLES, find_near_duplicates, join_near_duplicates
from train.data.readers import read_dataset, recognise_layout
from train.data.readers.folder import images_below
from train.data.sample import DataError, Dataset, Sample, one_per_frame
from train.data.split import Fold, folds, leak_warnings
from train.data.taxa_table import card_labels, is_reserved_label, read_taxa
from train.data.validate import find_problems, problem_report, readable, without_problems
from train.recipe import Recipe

_BLANK_NAMES = frozenset({"blank", "empty"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of a dataset that a recipe uses."""

    data_name: str
    samples: tuple[Sample, ...]
    """Samples of the labels that are trained."""
    unseen: tuple[Sample, ...]
    """Samples of the labels that the recipe excludes: they test the rejection of unknown species."""
    labels: tuple[Label, ...]
    higher_taxa: tuple[Taxon, ...]

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)


def prepare(path: Path, format_: str, recipe: Recipe, skip_bad: bool, cache: Path | None = None) -> Prepared:
    """Read, check and filter. All problems are listed on standard error before anything else is done. `cache` keeps
    what is decoded in the search for near duplicates, for the training.

    Raises `DataError` when there are problems that are not to be skipped, or nothing is left.
    """
    dataset = read_dataset(path, format_)
    table, higher = read_taxa(Path(recipe.data.taxa)) if recipe.data.taxa else ({}, ())
    reserved = {label for label in dataset.labels() if is_reserved_label(label)}
    known = {*table, *recipe.data.exclude, *reserved} if table else None
    problems = find_problems(dataset, known, recipe.input.crop_margin is not None)
    if problems:
        notice(problem_report(problems))
    dataset = without_problems(dataset, problems, skip_bad)
    pictures = samples_of_inputs(dataset.samples, recipe)
    _warn_of_unknown_exclusions(recipe.data.exclude, dataset)
    large = _handle_near_duplicates(_large_enough(pictures, recipe.data.min_side_px, path), recipe, cache)
    seen = tuple(sample for sample in large if sample.label not in recipe.data.exclude)
    unseen = tuple(sample for sample in large if sample.label in recipe.data.exclude)
    names = tuple(sorted({sample.label for sample in seen}))
    if len(names) < 2:
        raise DataError(f"{path} leaves {len(names)} labels to train on; at least two are needed")
    taxa = {name: table.get(name) or dataset.taxa.get(name) for name in names}
    labels = card_labels(names, {name: taxon for name, taxon in taxa.items() if taxon is not None})
    return Prepared(dataset.name, seen, unseen, labels, higher)


def samples_of_inputs(samples: Sequence[Sample], recipe: Recipe) -> tuple[Sample, ...]:
    """The samples that are an input of their own: each bounding box where boxes are cut out, else each frame
    and label.
    """
    return one_per_frame(samples) if recipe.input.crop_margin is None else tuple(samples)


def pixel_source(recipe: Recipe, cache: Path | None) -> PixelSource:
    """The source of this recipe's pixels, in training and in evaluation."""
    return PixelSource(recipe.input.size_px, recipe.input.crop_margin, cache)


def choose_folds(prepared: Prepared, recipe: Recipe) -> tuple[Fold, ...]:
    """The recipe's folds, with warnings on each that leaks, or lacks a label."""
    chosen = []
    for fold in folds(prepared.samples, recipe.data.split, recipe.data.folds, recipe.seed):
        warnings = [*leak_warnings(prepared.samples, fold, recipe.data.split)]
        if lacking := labels_not_trained(prepared, fold):
            warnings.append(f"no training image of {', '.join(lacking)}, which cannot be learned")
        chosen.append(replace(fold, warnings=tuple(warnings)))
    return tuple(chosen)


def labels_not_trained(prepared: Prepared, fold: Fold) -> list[str]:
    """Labels without an image in the fold's training part."""
    return sorted(set(prepared.label_names) - {prepared.samples[place].label for place in fold.train})


def read_backgrounds(path: Path, skip_bad: bool) -> tuple[Sample, ...]:
    """Frames without an animal: the blanks of a labelled dataset, or all images of a folder that holds no others.

    Each is decoded here, for a broken one would end the training when it is first used. Raises `DataError` where there
    are none, or where some cannot be read and are not to be skipped.
    """
    dataset = _images_without_labels(path) or read_dataset(path)
    blanks = tuple(sample for sample in dataset.samples if sample.label.lower() in _BLANK_NAMES)
    if not blanks:
        labels = ", ".join(dataset.labels()[:5])
        raise DataError(
            f"{path} has no label blank or empty (it has {labels}); its images may show animals. Give backgrounds "
            "that are labelled so, or a folder of images without animals"
        )
    backgrounds = readable(replace(dataset, name=str(path), samples=blanks), skip_bad).samples
    if not backgrounds:
        raise DataError(f"{path} holds no background that can be read; give frames without an animal")
    return backgrounds


def _images_without_labels(path: Path) -> Dataset | None:
    """The images of a folder without a table and without class folders; `None` for any other data."""
    if not path.is_dir() or recognise_layout(path) != "folder":
        return None
    files = images_below(path)
    if not files or any(file.parent != path for file in files):
        return None
    return Dataset(path.name, tuple(Sample(file, "blank", root=path) for file in files))


def _warn_of_unknown_exclusions(excluded: Sequence[str], dataset: Dataset) -> None:
    """Warn of labels that the data lacks: a misspelt one would be trained on instead of being excluded."""
    unknown = sorted({*excluded} - {*dataset.labels()})
    if unknown:
        notice(
            f"warning: data.exclude names {', '.join(unknown)}, of which the data has no sample; "
            f"its labels are {', '.join(dataset.labels()[:20])}"
        )


def _large_enough(samples: Sequence[Sample], least_px: int, path: Path) -> Sequence[Sample]:
    """The samples whose shorter side is long enough; the others are counted on standard error. Raises `DataError`."""
    large = [sample for sample in samples if _is_large_enough(sample, least_px)]
    if len(large) < len(samples):
        small = Counter(sample.label for sample in samples) - Counter(sample.label for sample in large)
        of_labels = ", ".join(f"{count} {label}" for label, count in small.most_common())
        notice(f"{small.total()} samples are left out, smaller than data.min_side_px {least_px}: {of_labels}")
    if not large:
        raise DataError(f"no sample of {path} is left; correct what is listed above, or lower data.min_side_px")
    return large


def _handle_near_duplicates(samples: Sequence[Sample], recipe: Recipe, cache: Path | None) -> Sequence[Sample]:
    """Join or leave out near duplicates as the recipe says; what is found is printed on standard error."""
    settings = recipe.data
    wanted = settings.near_copies == "join" or settings.contradicted == "leave_out"
    if not wanted and (settings.near_copies == "ignore" or settings.split == "official"):
        return samples
    if len(samples) > MOST_SAMPLES:
        if not wanted:
            return samples
        raise DataError(
            f"near duplicates are looked for among {MOST_SAMPLES:,} samples at most, not {len(samples):,}; "
            "set data.near_copies=ignore and data.contradicted=keep"
        )
    duplicates = find_near_duplicates(samples, pixel_source(recipe, cache))
    contradicted = duplicates.contradicted([sample.label for sample in samples])
    across = duplicates.across([sample.sequence or str(sample.path) for sample in samples])
    if settings.contradicted == "leave_out":
        for place in contradicted:
            notice(f"contradicted: {samples[place].name}: its near duplicates are not {samples[place].label}")
        notice(f"{len(contradicted)} samples are left out, because their near duplicates have another label")
    elif contradicted:
        notice(
            f"warning: {len(contradicted)} samples have another label than their near duplicates; see data.contradicted"
        )
    if settings.near_copies == "join":
        places = len({sample.location for sample in samples} - {""})
        samples = join_near_duplicates(samples, duplicates)
        left = len({sample.location for sample in samples} - {""})
        notice(
            f"{across} samples have near duplicates in another sequence: those sequences count as one, and so do their "
            f"locations ({left} of {places})"
        )
    elif across:
        notice(f"warning: {across} samples have near duplicates in another sequence; see data.near_copies")
    left_out = set(contradicted) if settings.contradicted == "leave_out" else set()
    return [sample for place, sample in enumerate(samples) if place not in left_out]


def _is_large_enough(sample: Sample, least: int) -> bool:
    """Whether the shorter side of the sample (of its box, where there is one) has at least `least` pixels."""
    if least <= 0:
        return True
    size = sample.size_px or upright_size_px(sample.path)
    if sample.box is not None:
        return min(sample.box.width * size[0], sample.box.height * size[1]) >= least
    return min(size) >= least
