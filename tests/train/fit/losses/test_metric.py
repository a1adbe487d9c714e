"""Each metric loss by hand, on a few embeddings of two or three numbers."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from train.fit.losses.metric import MetricLoss
from train.recipe import LossSettings

MARGIN, SCALE = math.radians(28.6), 30
EMBEDDING = functional.normalize(
    torch.tensor([[1.0, 0.2, 0.1], [0.8, -0.3, 0.4], [-0.2, 1.0, 0.3], [0.1, 0.7, -0.9]]), dim=1
)
LABELS = torch.tensor([0, 0, 1, 2])
DIRECTIONS = functional.normalize(torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.8, -0.1], [-0.4, 0.3, 0.7]]), dim=1)


def loss(metric: str) -> MetricLoss:
    return MetricLoss(LossSettings(metric=metric), 3, 3)  # type: ignore[arg-type]


def arcface_by_hand(cosine: Tensor) -> Tensor:
    """float32[N, L] cosines -> cross-entropy with the angle to the own label widened by the margin."""
    own = functional.one_hot(LABELS, 3).bool()
    return functional.cross_entropy(SCALE * torch.where(own, torch.cos(torch.acos(cosine) + MARGIN), cosine), LABELS)


def test_arcface_widens_the_angle_to_the_own_label() -> None:
    arcface = loss("arcface")
    arcface.loss.W.data = DIRECTIONS.T.clone()
    torch.testing.assert_close(arcface(EMBEDDING, LABELS), arcface_by_hand(EMBEDDING @ DIRECTIONS.T))


def test_subcenter_arcface_takes_the_nearest_of_three() -> None:
    torch.manual_seed(0)
    centres = functional.normalize(torch.randn(3, 3, 3), dim=2)  # labels, sub-centres, numbers
    subcenter = loss("subcenter_arcface")
    subcenter.loss.W.data = centres.flatten(0, 1).T.clone()
    cosine = torch.einsum("nd,lsd->nls", EMBEDDING, centres).amax(2)
    torch.testing.assert_close(subcenter(EMBEDDING, LABELS), arcface_by_hand(cosine))


def test_proxy_anchor_draws_proxies_to_their_samples_and_from_the_others() -> None:
    alpha, margin = 32, 0.1
    cosine = EMBEDDING @ DIRECTIONS.T
    near = [torch.exp(-alpha * (cosine[label == LABELS, label] - margin)).sum() for label in range(3)]
    far = [torch.exp(alpha * (cosine[label != LABELS, label] + margin)).sum() for label in range(3)]
    by_hand = torch.log1p(torch.stack(near)).mean() + torch.log1p(torch.stack(far)).mean()
    proxy_anchor = loss("proxy_anchor")
    proxy_anchor.loss.proxies.data = DIRECTIONS.clone()
    torch.testing.assert_close(proxy_anchor(EMBEDDING, LABELS), by_hand)


def test_supervised_contrast_is_the_published_formula() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    similarity = EMBEDDING @ EMBEDDING.T / 0.1
    others = ~torch.eye(4, dtype=torch.bool)
    by_hand = -torch.stack(
        [similarity[i, j] - similarity[i, others[i]].logsumexp(0) for i, j in ((0, 1), (1, 0), (2, 3), (3, 2))]
    ).mean()
    torch.testing.assert_close(loss("supcon")(EMBEDDING, labels), by_hand)


def test_triplets_are_those_whose_negative_is_farther_within_the_margin() -> None:
    angles = torch.tensor([0.0, 0.5, 0.6, 2.5])  # the last is farther than the margin: no triplet of it counts
    points = torch.stack([angles.cos(), angles.sin()], 1)
    labels = torch.tensor([0, 0, 1, 2])
    positive, negative = (float((points[0] - points[place]).norm()) for place in (1, 2))
    assert positive < negative < positive + 0.2
    assert float(loss("triplet")(points, labels)) == pytest.approx(positive - negative + 0.2, abs=1e-4)


@pytest.mark.parametrize("metric", ["arcface", "subcenter_arcface", "proxy_anchor", "supcon", "triplet"])
def test_a_step_down_the_gradient_brings_like_to_like(metric: str) -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2]).repeat(8)
    learned = functional.normalize(torch.randn(24, 3), dim=1).requires_grad_()
    of_metric = loss(metric)
    optimiser = torch.optim.Adam([learned, *of_metric.parameters()], lr=0.02)

    def spread() -> float:
        """Mean cosine within labels less that across them."""
        points = functional.normalize(learned.detach(), dim=1)
        same = labels[:, None] == labels
        return float((points @ points.T)[same].mean() - (points @ points.T)[~same].mean())

    before = spread()
    for _ in range(60):
        optimiser.zero_grad()
        of_metric(functional.normalize(learned, dim=1), labels).backward()
        optimiser.step()
    assert spread() > before + 0.15
