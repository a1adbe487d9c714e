"""Enrols new species from a few images, without training: the mean of their embeddings becomes a prototype."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from train.evaluation.predictions import prototypes, similarity

SCALES = (0.0, float(np.log(100.0)))
"""Logarithms of the least and the largest scale of cosines: a hundred images cannot justify a larger one."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Prototypes of the trained and the new labels, with how well the new species are recognised."""

    labels: tuple[str, ...]
    prototypes: NDArray[np.float32]
    """float32[L, D], L2-normalised."""
    recall: dict[str, float]
    """For each new label with at least two images: the share of its images that are nearest to its prototype when they
    are held out.
    """
    taken: dict[str, float]
    """For each trained label: the share of its training images that become nearest to a new prototype."""
    scale: float
    """Factor of the cosines with which softmax gives the images' own labels the highest likelihood."""


def enrol(
    known_labels: tuple[str, ...],
    known_prototypes: NDArray[np.float32],
    known_embedding: NDArray[np.float32],
    known_truth: NDArray[np.int64],
    new_labels: tuple[str, ...],
    new_embedding: NDArray[np.float32],
    new_truth: NDArray[np.int64],
) -> Enrolment:
    """Add `new_labels` (embeddings float32[N, D] with their places) to those of a training."""
    added = prototypes(new_embedding, new_truth, len(new_labels))
    together = np.concatenate([known_prototypes, added])
    recall = {}
    likeness, truth = [similarity(known_embedding, together)], [known_truth]
    for place, label in enumerate(new_labels):
        own = np.flatnonzero(new_truth == place)
        if len(own) < 2:
            continue  # its one image cannot be held out
        hits = 0
        for left_out in own:
            rest = np.setdiff1d(own, left_out)
            table = together.copy()
            table[len(known_labels) + place] = prototypes(new_embedding[rest], np.zeros(len(rest), np.int64), 1)[0]
            likeness.append(similarity(new_embedding[left_out][None], table))
            truth.append(np.array([len(known_labels) + place]))
            hits += int(likeness[-1].argmax() == len(known_labels) + place)
        recall[label] = hits / len(own)
    nearest = likeness[0].argmax(1)
    before = similarity(known_embedding, known_prototypes).argmax(1)
    taken = {}
    for place, label in enumerate(known_labels):
        own_right = (known_truth == place) & (before == place)
        taken[label] = float(np.mean(nearest[own_right] >= len(known_labels))) if own_right.any() else 0.0
    scale = _fit_scale(np.concatenate(likeness), np.concatenate(truth))
    return Enrolment((*known_labels, *new_labels), together, recall, taken, scale)


def _fit_scale(likeness: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The scale of least negative log-likelihood, in which each label counts once."""
    kept = truth >= 0
    likeness, truth = likeness[kept].astype(np.float64), truth[kept]
    weights = 1.0 / np.bincount(truth)[truth]

    def loss(log_scale: float) -> float:
        scaled = np.exp(log_scale) * likeness
        logs = scaled[np.arange(len(truth)), truth] - np.logaddexp.reduce(scaled, axis=1)
        return float(-(weights * logs).sum())

    return round(float(np.exp(minimize_scalar(loss, bounds=SCALES, method="bounded").x)), 3)
