"""Splits samples into training and test parts: by location or by sequence, by single images only when asked."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from train.data.sample import DataError, Sample
from train.recipe import SplitBy


@dataclass(frozen=True, slots=True)
class Fold:
    """A training and a test part, as places in the list of samples."""

    train: tuple[int, ...]
    test: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    """Reasons to doubt the test figures, one line each."""


def folds(samples: Sequence[Sample], by: SplitBy, count: int, seed: int) -> tuple[Fold, ...]:
    """`count` folds, each test part disjoint, labels stratified as well as whole groups allow.

    Raises `DataError` when the samples lack what to group by, or hold fewer groups than folds.
    """
    if by == "official":
        return (official(samples),)
    if count < 2:
        raise DataError(f"data.folds is {count}; at least two are needed, one of them for the test")
    groups = [_group(sample, by) for sample in samples]
    if "" in groups:
        other: SplitBy = "location" if by == "sequence" else "sequence"
        known = all(_group(sample, other) for sample in samples)
        instead = f"set data.split={other}" if known else "set data.split=image (a weaker test)"
        raise DataError(f"{samples[groups.index('')].path} has no {by}; add it to the data, or {instead}")
    if len(set(groups)) < count:
        raise DataError(
            f"the data has {len(set(groups))} different {by}s, fewer than the {count} folds asked for; set data.folds "
            "or data.split"
        )
    labels = np.array([sample.label for sample in samples])
    most = max(Counter(labels.tolist()).values())
    if most < count:
        raise DataError(f"no label has more than {most} samples, fewer than the {count} folds asked for")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    # Rare labels have fewer groups than folds, so some test parts lack them; the tables show it.
    places = np.arange(len(samples))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(splitter.split(places, labels, groups))
    return tuple(Fold(tuple(train.tolist()), tuple(test.tolist())) for train, test in parts)


def official(samples: Sequence[Sample]) -> Fold:
    """The data's own split: `train` against `test`, or against `val` where there is no test part."""
    named = {sample.split for sample in samples}
    test_name = "test" if "test" in named else "val"
    train = tuple(place for place, sample in enumerate(samples) if sample.split == "train")
    test = tuple(place for place, sample in enumerate(samples) if sample.split == test_name)
    if not train or not test:
        found = ", ".join(sorted(named - {""})) or "none"
        raise DataError(
            "the data has no official split into train and test (or val); its parts are: "
            f"{found}; set data.split to location, sequence or image"
        )
    return Fold(train, test)


def leak_warnings(samples: Sequence[Sample], fold: Fold, by: SplitBy) -> Iterator[str]:
    """One line for each reason to doubt the test figures: what the two parts of `fold` share, or may share."""
    train, test = ([samples[place] for place in places] for places in (fold.train, fold.test))

    def shared(name: Callable[[Sample], str]) -> list[str]:
        return sorted(({*map(name, train)} & {*map(name, test)}) - {""})

    if images := shared(lambda sample: str(sample.path)):
        yield f"{len(images)} images are in both training and test, e.g. {images[0]}"
    if sequences := shared(_sequence_name):
        yield (
            f"{len(sequences)} sequences are in both training and test, e.g. {sequences[0]}: "
            "the test images are nearly training images; split by sequence or location"
        )
    if unknown := sum(not sample.sequence and not sample.location for sample in test):
        yield f"{unknown} test images have neither sequence nor location: a leak cannot be ruled out"
    if by != "location" and (locations := shared(lambda sample: sample.location)):
        yield f"{len(locations)} locations are in both training and test: figures do not hold for new ones"


def _sequence_name(sample: Sample) -> str:
    """The sequence with its location: many projects number the events of each location from one."""
    return f"{sample.sequence} at {sample.location}" if sample.sequence and sample.location else sample.sequence


def _group(sample: Sample, by: SplitBy) -> str:
    if by == "image":
        return str(sample.path)  # two boxes of one image stay together even here
    return sample.location if by == "location" else sample.sequence
