"""Figures of predictions: overall, by label, location, sequence and rank, with intervals over sequences."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from edge.inference.taxonomy import RANKS, Taxon
from train.evaluation.predictions import Predictions

_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The overall figures, all 0..1."""

    images: int
    sequences: int
    accuracy: Interval
    macro_f1: Interval
    """Mean F1 of the labels that occur."""
    sequence_weighted_macro_f1: Interval
    """Each sequence counts once for each of its labels, however many frames it has."""
    sequence_vote_accuracy: Interval
    """Accuracy when the frames of one sequence and label vote by summed log-probability."""
    rank_accuracy: dict[str, float]
    """Share of predictions that are right at each rank, as far as taxa are known at it."""
    prototype_accuracy: float
    """Accuracy of the nearest mean training embedding in place of the classifier."""


@dataclass(frozen=True, slots=True)
class PartFigures:
    """The figures of one label, or of one location."""

    name: str
    images: int
    sequences: int
    precision: float
    """Precision of a label; accuracy at a location."""
    recall: float
    f1: float


def figures(predictions: Predictions, taxa: Sequence[Taxon | None], seed: int = 0) -> Figures:
    """The figures of predictions whose true labels are all known to the network."""
    truth, answer = predictions.truth, predictions.logits.argmax(1)
    groups = sequence_groups(predictions)
    weights = _sequence_weights(truth, groups)

    def own_macro_f1(places: NDArray[np.int64], weight: NDArray[np.float64] | None = None) -> float:
        return macro_f1(truth[places], answer[places], None if weight is None else weight[places])

    vote_truth, vote_answer, vote_group = sequence_votes(predictions)
    return Figures(
        images=len(predictions),
        sequences=len(np.unique(groups)),
        accuracy=bootstrap(lambda places: float(np.mean(truth[places] == answer[places])), groups, seed),
        macro_f1=bootstrap(own_macro_f1, groups, seed),
        sequence_weighted_macro_f1=bootstrap(lambda places: own_macro_f1(places, weights), groups, seed),
        sequence_vote_accuracy=bootstrap(
            lambda places: float(np.mean(vote_truth[places] == vote_answer[places])), vote_group, seed
        ),
        rank_accuracy=rank_accuracy(truth, answer, taxa),
        prototype_accuracy=float(np.mean(predictions.prototype_similarity.argmax(1) == truth)),
    )


def macro_f1(truth: NDArray[np.int64], answer: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> float:
    """Mean F1 of the labels that occur in `truth`. scikit-learn's function is too slow for the
    thousands of calls that an interval needs.
    """
    labels = int(max(truth.max(), answer.max())) + 1
    right = np.bincount(truth[truth == answer], None if weights is None else weights[truth == answer], labels)
    true, answered = np.bincount(truth, weights, labels), np.bincount(answer, weights, labels)
    present = true > 0
    return float(np.mean(2 * right[present] / (true + answered)[present]))


def sequence_groups(predictions: Predictions) -> NDArray[np.str_]:
    """str[N]: the sequence, or the sample itself where none is known. Many projects number the events of each location
    from one: where a name occurs at several locations, the location becomes a part of it.
    """
    columns = (predictions.sequence.tolist(), predictions.location.tolist(), predictions.name.tolist())
    rows = list(zip(*columns, strict=True))
    places = Counter(sequence for sequence, _ in {row[:2] for row in rows})
    return np.array(
        [
            f"{sequence} at {location}" if places[sequence] > 1 and sequence else sequence or name
            for sequence, location, name in rows
        ],
        np.str_,
    )


def sequence_votes(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """(truth, answer, sequence) of each pair of sequence and label; frames vote by summed log-probability."""
    truth, groups = predictions.truth, sequence_groups(predictions)
    log_probabilities = log_softmax(predictions.logits.astype(np.float64), axis=1)
    pairs = sorted({(str(group), int(label)) for group, label in zip(groups, truth, strict=True)})
    answers = [int(log_probabilities[(groups == g) & (truth == label)].sum(0).argmax()) for g, label in pairs]
    names, labels = zip(*pairs, strict=True)
    return np.array(labels, np.int64), np.array(answers, np.int64), np.array(names, np.str_)


def label_figures(predictions: Predictions) -> tuple[PartFigures, ...]:
    """Precision, recall and F1 of each label."""
    truth, answer, groups = predictions.truth, predictions.logits.argmax(1), sequence_groups(predictions)
    places = np.arange(len(predictions.labels))
    precision, recall, f1, count = precision_recall_fscore_support(truth, answer, labels=places, zero_division=0.0)
    sequences = [len(np.unique(groups[truth == place])) for place in places]
    columns = (predictions.labels, count.tolist(), sequences, precision.tolist(), recall.tolist(), f1.tolist())
    return tuple(PartFigures(*row) for row in zip(*columns, strict=True))


def location_figures(predictions: Predictions) -> tuple[PartFigures, ...]:
    """Accuracy (as precision and recall, which are the same over all labels) and macro-F1 at each location."""
    truth, answer, groups = predictions.truth, predictions.logits.argmax(1), sequence_groups(predictions)
    rows = []
    for location in np.unique(predictions.location):
        own = predictions.location == location
        accuracy = float(np.mean(truth[own] == answer[own]))
        f1, sequences = macro_f1(truth[own], answer[own]), len(np.unique(groups[own]))
        rows.append(PartFigures(str(location), int(own.sum()), sequences, accuracy, accuracy, f1))
    return tuple(rows)


def rank_accuracy(
    truth: NDArray[np.int64], answer: NDArray[np.int64], taxa: Sequence[Taxon | None]
) -> dict[str, float]:
    """Share of right predictions by rank, over the samples whose true taxon names one."""
    figures = {}
    for rank in RANKS[2:]:
        names = [dict(taxon.lineage()).get(rank) if taxon is not None else None for taxon in taxa]
        named = np.array([names[label] is not None for label in truth])
        if named.any():
            right = [names[t] == names[a] for t, a in zip(truth[named], answer[named], strict=True)]
            figures[rank] = float(np.mean(right))
    return figures


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """int64[L, L]: rows are true labels, columns predicted ones."""
    labels = np.arange(len(predictions.labels))
    return np.asarray(confusion_matrix(predictions.truth, predictions.logits.argmax(1), labels=labels), np.int64)


def bootstrap(
    figure: Callable[[NDArray[np.int64]], float], groups: NDArray[np.str_], seed: int, draws: int = _DRAWS
) -> Interval:
    """`figure` of all places, with the 2.5% and 97.5% quantiles over draws of whole groups: frames of one sequence are
    not independent.
    """
    rng = np.random.default_rng(seed)
    _, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    values = []
    for _ in range(draws):
        drawn = rng.integers(0, len(members), len(members))
        values.append(figure(np.concatenate([members[group] for group in drawn])))
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Interval(figure(np.arange(len(groups))), float(low), float(high))


def _sequence_weights(truth: NDArray[np.int64], groups: NDArray[np.str_]) -> NDArray[np.float64]:
    """float64[N]: 1 / frames of the same sequence and label."""
    pairs = np.array([f"{group}|{label}" for group, label in zip(groups, truth, strict=True)])
    _, inverse, count = np.unique(pairs, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / count[inverse])
