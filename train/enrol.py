"""New species from a few images, without training: the mean of their embeddings becomes a prototype."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.predictions import prototypes


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Prototypes of the trained labels and the new ones, with how well the new images are told."""

    labels: tuple[str, ...]
    prototypes: NDArray[np.float32]
    """float32[L, D], L2-normalised."""
    recall: dict[str, float]
    """Of each new label: share of its images that are nearest to its prototype when they take no part in it."""
    taken: dict[str, float]
    """Of each trained label: share of its training images that a new prototype takes away."""


def enrol(
    known_labels: tuple[str, ...],
    known_prototypes: NDArray[np.float32],
    known_embedding: NDArray[np.float32],
    known_truth: NDArray[np.int64],
    new_labels: tuple[str, ...],
    new_embedding: NDArray[np.float32],
    new_truth: NDArray[np.int64],
) -> Enrolment:
    """Add `new_labels` (embeddings float32[N, D] with places in them) to those of a training."""
    added = prototypes(new_embedding, new_truth, len(new_labels))
    together = np.concatenate([known_prototypes, added])
    recall = {}
    for place, label in enumerate(new_labels):
        own = np.flatnonzero(new_truth == place)
        hits = 0
        for left_out in own:
            rest = np.setdiff1d(own, left_out)
            table = together.copy()
            table[len(known_labels) + place] = prototypes(new_embedding[rest], np.zeros(len(rest), np.int64), 1)[0]
            hits += int((table @ new_embedding[left_out]).argmax() == len(known_labels) + place)
        recall[label] = hits / len(own)
    nearest = (known_embedding @ together.T).argmax(1)
    before = (known_embedding @ known_prototypes.T).argmax(1)
    taken = {}
    for place, label in enumerate(known_labels):
        own_right = (known_truth == place) & (before == place)
        taken[label] = float(np.mean(nearest[own_right] >= len(known_labels))) if own_right.any() else 0.0
    return Enrolment((*known_labels, *new_labels), together, recall, taken)
