import pytest
import torch
from torch.nn import functional

from edge.inference.taxonomy import Taxon
from train.fit.losses.classification import ClassificationLoss, smoothing_matrix, tree_distance
from train.recipe import LossSettings

IMPALA = Taxon("Aepyceros melampus", "species", "", "Mammalia", "Artiodactyla", "Bovidae", "Aepyceros")
KOB = Taxon("Kobus kob", "species", "", "Mammalia", "Artiodactyla", "Bovidae", "Kobus")
WATERBUCK = Taxon("Kobus ellipsiprymnus", "species", "", "Mammalia", "Artiodactyla", "Bovidae", "Kobus")
ZEBRA = Taxon("Equus quagga", "species", "", "Mammalia", "Perissodactyla", "Equidae", "Equus")
TAXA = (IMPALA, KOB, WATERBUCK, ZEBRA)


def loss_of(logits: torch.Tensor, label: int, **settings: object) -> float:
    loss = ClassificationLoss(LossSettings(**settings), (100, 1, 10, 10), TAXA)  # type: ignore[arg-type]
    return float(loss(logits[None], torch.tensor([label])))


def test_plain_and_smoothed_cross_entropy_are_torchs() -> None:
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    for smoothing in (0.0, 0.1):
        own = ClassificationLoss(LossSettings(label_smoothing=smoothing), (1, 1, 1, 1), TAXA)(logits, labels)
        torchs = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert float(own) == pytest.approx(float(torchs), abs=1e-6)


def test_a_mistake_within_the_genus_costs_less() -> None:
    to_kob, to_zebra = torch.tensor([0.0, 4.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 4.0])
    plain = {"label_smoothing": 0.2}
    aware = {"label_smoothing": 0.2, "taxonomy_beta": 1.0}
    assert loss_of(to_kob, 2, **plain) == pytest.approx(loss_of(to_zebra, 2, **plain))
    assert loss_of(to_kob, 2, **aware) < loss_of(to_zebra, 2, **aware) - 0.1


def test_tree_distance_counts_ranks_to_the_shared_ancestor() -> None:
    assert [tree_distance(WATERBUCK, other) for other in (WATERBUCK, KOB, IMPALA, ZEBRA)] == [0, 1, 2, 4]
    assert tree_distance(None, ZEBRA) > 4
    matrix = smoothing_matrix(TAXA, 0.1, 0.5)
    assert torch.allclose(matrix.sum(1), torch.ones(4))
    assert torch.allclose(matrix.diagonal(), torch.full((4,), 0.9))


def test_balanced_softmax_asks_a_rare_label_for_more() -> None:
    even = torch.zeros(4)
    balanced = {"classification": "balanced_softmax", "label_smoothing": 0.0}
    assert loss_of(even, 1, **balanced) > loss_of(even, 0, **balanced) + 4  # ln 100 apart


def test_focal_loss_is_small_on_what_is_sure() -> None:
    sure, unsure = torch.tensor([5.0, 0, 0, 0]), torch.tensor([0.5, 0, 0, 0])
    focal = {"classification": "focal", "label_smoothing": 0.0}
    plain = {"label_smoothing": 0.0}
    assert loss_of(sure, 0, **focal) / loss_of(sure, 0, **plain) < 0.01
    assert loss_of(unsure, 0, **focal) / loss_of(unsure, 0, **plain) > 0.2
