"""The order of samples in an epoch: the seed and the epoch decide it, whatever the number of processes."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from train.data.sample import Sample
from train.recipe import Balance


class BatchOrder(Sampler[list[tuple[int, int]]]):
    """Batches of (sample, seed) for this process; all processes together draw the batches of a single process."""

    def __init__(
        self,
        samples: Sequence[Sample],
        balance: Balance,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
    ) -> None:
        """`batch` counts the samples of all `world` processes and is a multiple of `world * parts`. The first parts of
        all processes together are the first part of the batch, and so on.
        """
        self.count, self.batch, self.seed, self.rank, self.world = len(samples), batch, seed, rank, world
        self.parts = parts
        self.epoch = 0
        self.weights = None if balance == "plain" else drawing_weights(samples, balance)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.count, p=self.weights)
        whole = len(self) * self.batch
        order = np.resize(order, whole)  # the last batch is filled from the beginning: all batches weigh the same
        seeds = rng.integers(0, 2**62, whole)
        # batches, parts, processes, samples
        mine = np.arange(whole).reshape(len(self), self.parts, self.world, -1)[:, :, self.rank].reshape(len(self), -1)
        for places in mine:
            yield [(int(place), int(seed)) for place, seed in zip(order[places], seeds[places], strict=True)]


def expected_draws(samples: Sequence[Sample], labels: Sequence[str], balance: Balance) -> list[float]:
    """How often each label is drawn in an epoch, on average."""
    weights = np.full(len(samples), 1.0) if balance == "plain" else len(samples) * drawing_weights(samples, balance)
    own = np.array([sample.label for sample in samples])
    return [float(weights[own == label].sum()) for label in labels]


def drawing_weights(samples: Sequence[Sample], balance: Balance) -> np.ndarray:
    """Probabilities float64[N] that draw each label equally often; within it, with `class_and_sequence`, each sequence
    by the square root of its size (frames of one event are near duplicates of each other).
    """
    if balance == "class_and_sequence":
        sizes = Counter((sample.label, sample.sequence) for sample in samples)
        weights = np.array([sizes[sample.label, sample.sequence] ** -0.5 for sample in samples])
    else:
        weights = np.ones(len(samples))
    _, label = np.unique([sample.label for sample in samples], return_inverse=True)
    weights = weights / np.bincount(label, weights)[label]
    return np.asarray(weights / weights.sum())
