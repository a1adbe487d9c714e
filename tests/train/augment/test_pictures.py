from pathlib import Path

import torch

from tests.train.made_animals import LABELS
from train.augment.mix import Mixing
from train.augment.pictures import TrainingPictures
from train.datasets import read_dataset
from train.pixels import PixelSource
from train.recipe import AugmentSettings


def test_a_picture_depends_on_its_seed_alone(animals: Path) -> None:
    samples = read_dataset(animals).samples
    settings = AugmentSettings(policy="trivial", erase=0.5, paste=0.5, colour_cast=0.5, mixup=0.2)
    pictures = TrainingPictures(samples, LABELS, PixelSource(48), settings, 48, backgrounds=samples[:3])
    torch.manual_seed(1)
    first = pictures[5, 77]
    torch.manual_seed(2)
    again, other = pictures[5, 77], pictures[5, 78]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (3, 48, 48)
    assert first[0].dtype == torch.uint8


def test_mixed_targets_are_shares_of_two_labels() -> None:
    mixing = Mixing(AugmentSettings(mixup=1.0, cutmix=1.0), num_labels=4)
    torch.manual_seed(0)
    mixed = mixing(torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1]))
    assert mixed is not None
    assert torch.allclose(mixed[1].sum(1), torch.ones(6))
    assert Mixing(AugmentSettings(), 4)(torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)) is None
