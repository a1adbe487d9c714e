"""Pictures that show nearly the same: visits that are one visit, and labels that contradict each other.

Folders of a survey are often sorted by several people, and one visit of one animal then stands in two of them, under
two names: a model is tested on what it has seen, and punished for being right.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edge.frame import fit
from train.pixels import PixelSource
from train.sample import Sample

SIDE_PX = 32
LEAST_CORRELATION = 0.97
"""Of two pictures of `SIDE_PX`, whatever their brightness and contrast."""
MOST_SAMPLES = 20_000
"""Every pair is compared: more would take minutes, and much memory."""
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class NearCopies:
    """Pairs of places in a list of samples, each pair once."""

    pairs: NDArray[np.int64]
    """int64[P, 2]"""

    def contradicted(self, labels: Sequence[str]) -> tuple[int, ...]:
        """Places whose label is not the one that most of their near copies have, themselves among them; where two
        labels are equally many nobody knows, and all of them are named.
        """
        votes: dict[int, Counter[str]] = {}
        for one, other in self.pairs:
            for place, near in ((int(one), int(other)), (int(other), int(one))):
                votes.setdefault(place, Counter({labels[place]: 1}))[labels[near]] += 1
        return tuple(
            place
            for place, count in sorted(votes.items())
            if any(number >= count[labels[place]] for label, number in count.items() if label != labels[place])
        )

    def across(self, groups: Sequence[str]) -> int:
        """Samples that have a near copy in another group."""
        apart = [pair for pair in self.pairs if groups[pair[0]] != groups[pair[1]]]
        return len({int(place) for pair in apart for place in pair})


def find_near_copies(samples: Sequence[Sample], source: PixelSource) -> NearCopies:
    """All pairs of samples that look alike, as they are trained on (cut out where the source cuts them out)."""
    with ThreadPoolExecutor() as pool:
        small = np.stack(list(pool.map(lambda sample: fit(source.read(sample), SIDE_PX, SIDE_PX, "squash"), samples)))
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    found = []
    for start in range(0, len(flat), _ROWS):
        row, column = np.nonzero(flat[start : start + _ROWS] @ flat.T > LEAST_CORRELATION)
        later = column > row + start
        found.append(np.stack([row[later] + start, column[later]], axis=1))
    return NearCopies(np.concatenate(found).astype(np.int64))


def joined(samples: Sequence[Sample], copies: NearCopies) -> tuple[Sample, ...]:
    """The samples with one sequence in place of those that share near copies, and one location likewise."""
    sequences = _merged([sample.sequence or str(sample.path) for sample in samples], copies.pairs)
    locations = _merged([sample.location for sample in samples], copies.pairs)
    return tuple(
        replace(sample, sequence=sequences.get(sample.sequence or str(sample.path), sample.sequence),
                location=locations.get(sample.location, sample.location))
        for sample in samples
    )  # fmt: skip


def _merged(groups: Sequence[str], pairs: NDArray[np.int64]) -> dict[str, str]:
    """The new name of each group that has near copies in another; the empty name stands for no group."""
    names = sorted(set(groups) - {""})
    number = {name: place for place, name in enumerate(names)}
    ends = [(number[groups[a]], number[groups[b]]) for a, b in pairs if groups[a] and groups[b]]
    rows, columns = np.array(ends, np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(ends)), (rows, columns)), (len(names),) * 2)
    _, component = connected_components(graph, directed=False)
    members: dict[int, list[str]] = {}
    for name, place in zip(names, component, strict=True):
        members.setdefault(int(place), []).append(name)
    return {name: "+".join(joint) for joint in members.values() if len(joint) > 1 for name in joint}
