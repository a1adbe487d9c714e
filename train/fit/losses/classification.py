"""Losses on the logits: cross-entropy with smoothing by taxonomy, focal, balanced softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge.inference.taxonomy import RANKS, Taxon
from train.recipe import LossSettings

_FAR = 7.0  # ranks from a species up to the kingdom: the largest distance of two taxa


class ClassificationLoss(nn.Module):
    """float32[N, L] logits and targets (labels int64[N], or shares float32[N, L]) -> the mean loss."""

    smoothing: Tensor
    log_prior: Tensor

    def __init__(self, settings: LossSettings, counts: Sequence[float], taxa: Sequence[Taxon | None]) -> None:
        """`counts`: how often training draws each label; `taxa`: the taxon of each label, `None` where it is no
        animal.
        """
        super().__init__()
        self.kind, self.gamma = settings.classification, settings.focal_gamma
        smoothing = smoothing_matrix(taxa, settings.label_smoothing, settings.taxonomy_beta)
        self.register_buffer("smoothing", smoothing, persistent=False)
        frequency = torch.tensor(counts, dtype=torch.float32).clamp_min(1) / max(1, sum(counts))
        self.register_buffer("log_prior", settings.balance_strength * frequency.log(), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim == 1:
            targets = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
        targets = targets @ self.smoothing.to(logits.dtype)
        if self.kind == "balanced_softmax":
            # Ren et al. 2020 ("Balanced Meta-Softmax"), which is Menon et al.'s logit adjustment in training: the prior
            # is added here and absent on the device, so that a rare species needs no more evidence there.
            logits = logits + self.log_prior
        log_probabilities = functional.log_softmax(logits, 1)
        if self.kind == "focal":  # Lin et al. 2017
            log_probabilities = (1 - log_probabilities.exp()) ** self.gamma * log_probabilities
        return -(targets * log_probabilities).sum(1).mean()


def smoothing_matrix(taxa: Sequence[Taxon | None], smoothing: float, beta: float) -> Tensor:
    """float32[L, L]: row = the target that stands for a label, each row sums to 1.

    `smoothing` of the mass is shared out: evenly (Szegedy et al. 2016) or, with beta > 0, by exp(-beta * distance) in
    the tree of taxa, so that a mistake within the genus costs less than one across orders (Bertinetto et al. 2020,
    "Making Better Mistakes", soft labels).
    """
    labels = len(taxa)
    if labels < 2 or smoothing == 0:
        return torch.eye(labels)
    if beta == 0:
        return torch.eye(labels) * (1 - smoothing) + smoothing / labels
    distance = torch.tensor([[tree_distance(one, other) for other in taxa] for one in taxa])
    near = torch.exp(-beta * distance).fill_diagonal_(0)
    share: Tensor = near / near.sum(1, keepdim=True)
    return torch.eye(labels) * (1 - smoothing) + smoothing * share


def tree_distance(one: Taxon | None, other: Taxon | None) -> float:
    """Number of ranks from the deeper taxon up to the first shared ancestor; the largest when one is no animal."""
    if one is None or other is None:
        return 0.0 if one is other else _FAR
    mine, theirs = list(one.lineage()), list(other.lineage())
    shared = [key for key in mine if key in theirs]
    if mine[-1] == theirs[-1]:
        return 0.0
    deepest = max(RANKS.index(rank) for rank, _ in shared)
    return float(max(RANKS.index(mine[-1][0]), RANKS.index(theirs[-1][0])) - deepest)
