"""Finds images that are nearly the same: events that are one event, and labels that contradict each other.

The folders of a survey are often sorted by several people, and one event then stands in two of them under two names: a
model is tested on images that it was trained on, and counted as wrong where it is right.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.image.resize import resize_to_input
from train.data.image_cache import PixelSource
from train.data.sample import Sample

SIDE_PX = 32
LEAST_CORRELATION = 0.97
"""Correlation of two images of `SIDE_PX` from which on they are near duplicates, whatever their brightness."""
MOST_SAMPLES = 20_000
"""All pairs are compared, which would take minutes for more samples."""
_ROWS = 1024
_AT_ONCE = 256
"""Rows whose columns are unpacked together; a multiple of 8."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Which of N samples are near duplicates, as one bit for each pair: nearly all frames of one camera can be."""

    later: NDArray[np.uint8]
    """uint8[N, ceil(N / 8)]: bit c of row r is set where c comes after r and is a near duplicate of it."""

    def rows(self) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
        """All samples in parts: (places, bool[P, N] that marks the near duplicates of each, without itself)."""
        count = len(self.later)
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            alike = np.unpackbits(self.later[part], axis=1, count=count).view(bool)
            columns = np.unpackbits(self.later[:, start // 8 : (start + _AT_ONCE) // 8], axis=1)
            alike |= columns[:, : len(alike)].T.view(bool)
            yield part, alike

    def contradicted(self, labels: Sequence[str]) -> tuple[int, ...]:
        """Places of samples whose near duplicates mostly have another label, the sample itself counted. Where two
        labels are equally frequent, the samples of both are listed.
        """
        if not labels:
            return ()
        names, place_of = np.unique(np.array(labels), return_inverse=True)
        has_label = (place_of[:, None] == np.arange(len(names))).astype(np.float32)
        found: list[int] = []
        for part, alike in self.rows():
            votes = alike.astype(np.float32) @ has_label  # exact: far fewer than 2**24
            at, own = np.arange(len(votes)), place_of[part]
            own_votes = votes[at, own] + 1
            votes[at, own] = 0
            found += (np.flatnonzero(votes.max(axis=1) >= own_votes) + part.start).tolist()
        return tuple(found)

    def across(self, groups: Sequence[str]) -> int:
        """The number of samples that have a near duplicate in another group."""
        number = np.unique(np.array(groups), return_inverse=True)[1].astype(np.int32)
        return sum(int((alike & (number[part, None] != number[None])).any(axis=1).sum()) for part, alike in self.rows())


def find_near_duplicates(samples: Sequence[Sample], source: PixelSource) -> NearDuplicates:
    """All pairs of near duplicates among the samples, whole frames or crops as they are trained on."""
    with ThreadPoolExecutor() as pool:
        small = np.stack(
            list(pool.map(lambda sample: resize_to_input(source.read(sample), SIDE_PX, SIDE_PX, "squash"), samples))
        )
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    places = np.arange(len(flat))
    found = []
    for start in range(0, len(flat), _ROWS):
        alike = flat[start : start + _ROWS] @ flat.T > LEAST_CORRELATION
        alike &= places[None] > places[start : start + _ROWS, None]
        found.append(np.packbits(alike, axis=1))
    return NearDuplicates(np.concatenate(found))


def join_near_duplicates(samples: Sequence[Sample], duplicates: NearDuplicates) -> tuple[Sample, ...]:
    """The samples, with the sequences and the locations that share near duplicates joined into one."""
    sequences = _merged([sample.sequence or str(sample.path) for sample in samples], duplicates)
    locations = _merged([sample.location for sample in samples], duplicates)
    return tuple(
        replace(
            sample,
            sequence=sequences.get(sample.sequence or str(sample.path), sample.sequence),
            location=locations.get(sample.location, sample.location),
        )
        for sample in samples
    )


def _merged(groups: Sequence[str], duplicates: NearDuplicates) -> dict[str, str]:
    """The new name of each group that has near duplicates in another; the empty name stands for no group."""
    names = sorted(set(groups) - {""})
    number = {name: place for place, name in enumerate(names)}
    group = np.array([number.get(name, -1) for name in groups], np.int64)
    component = np.arange(len(names))
    known = group.copy()
    for part, alike in duplicates.rows():
        for own, near in zip(group[part], alike, strict=True):
            if own < 0:
                continue
            reached = known[near & (known != component[own])]
            if (reached >= 0).any():
                joining = np.zeros(len(names), bool)
                joining[reached[reached >= 0]] = True
                component[joining[component]] = component[own]
                known = np.where(group >= 0, component[group], -1)
    members: dict[int, list[str]] = {}
    for name, place in zip(names, component, strict=True):
        members.setdefault(int(place), []).append(name)
    merged: dict[str, str] = {}
    for joint in members.values():
        if len(joint) > 1:
            merged |= dict.fromkeys(joint, "+".join(joint))  # one long name for all of them, not one for each
    return merged
