"""Compares two runs on the same held-out samples: gains, intervals and a significance test."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from train import TrainError
from train.evaluation.metrics import Interval, bootstrap, macro_f1, sequence_groups
from train.evaluation.predictions import UNSEEN, Predictions


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of the second run against those of the first."""

    images: int
    accuracy: tuple[float, float]
    accuracy_gain: Interval
    """Gain of accuracy, with a paired interval over sequences."""
    macro_f1: tuple[float, float]
    macro_f1_gain: Interval
    won: int
    """Number of images that only the second run has right."""
    lost: int
    p_value: float
    """Exact McNemar test of `won` against `lost`; it treats images as independent, which the frames of a burst
    are not.
    """
    recall: dict[str, tuple[float, float]]
    """Recall of both runs by label."""


def compare(first: Predictions, second: Predictions, seed: int = 0) -> Comparison:
    """Compare on the samples that both runs held out. Raises `TrainError` when there are none or the labels differ."""
    if first.labels != second.labels:
        raise TrainError("the runs have different labels; only runs on the same labels can be compared")
    first, second = (run.where(run.truth != UNSEEN) for run in (first, second))
    names, places = _common_names(first, second)
    shared = np.array([name in places for name in names], bool)
    if not shared.any():
        raise TrainError("the runs held out no sample in common; use the same data, split and seed")
    one = first.where(shared)
    other = np.array([places[name] for name, kept in zip(names, shared, strict=True) if kept])
    truth, groups = one.truth, sequence_groups(one)
    answers = (one.logits.argmax(1), second.logits[other].argmax(1))
    right = tuple(answer == truth for answer in answers)

    def accuracy_gain(chosen: np.ndarray) -> float:
        return float(right[1][chosen].mean() - right[0][chosen].mean())

    def own_macro_f1(chosen: np.ndarray, run: int) -> float:
        return macro_f1(truth[chosen], answers[run][chosen])

    everything = np.arange(len(truth))
    won, lost = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum())
    return Comparison(
        images=len(truth),
        accuracy=(float(right[0].mean()), float(right[1].mean())),
        accuracy_gain=bootstrap(accuracy_gain, groups, seed),
        macro_f1=(own_macro_f1(everything, 0), own_macro_f1(everything, 1)),
        macro_f1_gain=bootstrap(lambda chosen: own_macro_f1(chosen, 1) - own_macro_f1(chosen, 0), groups, seed),
        won=won,
        lost=lost,
        p_value=float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
        recall={
            label: (float(right[0][truth == n].mean()), float(right[1][truth == n].mean()))
            for n, label in enumerate(one.labels)
            if (truth == n).any()
        },
    )


def _common_names(first: Predictions, second: Predictions) -> tuple[list[str], dict[str, int]]:
    """(names of the first run's samples, places of the second run's samples by name), in names that both runs share.

    Earlier versions named samples by the path as it was typed, with folders before the path within the data.
    """
    names, others = [str(name) for name in first.name], [str(name) for name in second.name]
    for folders in range(max(name.count("/") for name in (*names, *others)) + 1):
        for one, other in ((names, _without(others, folders)), (_without(names, folders), others)):
            unique = folders == 0 or (len(set(one)) == len(names) and len(set(other)) == len(others))
            if unique and set(one) & set(other):
                return one, {name: place for place, name in enumerate(other)}
    return names, {}


def _without(names: list[str], folders: int) -> list[str]:
    """The names without their first folders; the last part of a name is always kept."""
    return ["/".join(name.split("/")[min(folders, name.count("/")) :]) for name in names]
