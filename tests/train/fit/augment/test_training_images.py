from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.made_animals import LABELS
from train import TrainError
from train.data.image_cache import PixelSource
from train.data.readers import read_dataset
from train.data.sample import Box, Sample
from train.data.split import Fold
from train.fit.augment.mix import Mixing
from train.fit.augment.training_images import TrainingImages
from train.recipe import AugmentSettings
from train.trainer import trainable_backgrounds


def test_an_image_depends_on_its_seed_alone(animals: Path) -> None:
    samples = read_dataset(animals).samples
    settings = AugmentSettings(policy="trivial", erase=0.5, paste=0.5, colour_cast=0.5, mixup=0.2)
    images = TrainingImages(samples, LABELS, PixelSource(48), settings, 48, backgrounds=samples[:3])
    torch.manual_seed(1)
    first = images[5, 77]
    torch.manual_seed(2)
    again, other = images[5, 77], images[5, 78]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (3, 48, 48)
    assert first[0].dtype == torch.uint8


@pytest.mark.parametrize("with_box", [False, True])
def test_other_backgrounds_need_frames_and_boxes(animals: Path, with_box: bool) -> None:
    samples = read_dataset(animals).samples
    backgrounds = samples[:3] if not with_box else ()
    if with_box:
        samples = tuple(replace(sample, box=Box(0.2, 0.2, 0.5, 0.5)) for sample in samples)
    with pytest.raises(TrainError, match="needs frames without animals"):
        TrainingImages(samples, LABELS, PixelSource(48), AugmentSettings(background=0.5), 48, backgrounds)


def test_another_background_is_of_another_place(tmp_path: Path) -> None:
    colours = {"s1": (255, 0, 0), "s2": (0, 255, 0), "s3": (0, 0, 255)}
    for place, colour in colours.items():
        pixels = np.full((64, 64, 3), colour, np.uint8)
        pixels[::8] //= 2  # an image of one colour has no spread to be matched
        cv2.imwrite(str(tmp_path / f"{place}.png"), pixels[..., ::-1])
    frames = [Sample(tmp_path / f"{place}.png", "blank", location=place) for place in colours]
    animal = Sample(tmp_path / "s1.png", "disc", location="s1", box=Box(0.4, 0.4, 0.2, 0.2))
    images = TrainingImages([animal], ["disc"], PixelSource(48), AugmentSettings(background=1.0), 48, frames)
    chosen = [images._background(animal, np.random.default_rng(seed)) for seed in range(20)]
    assert {int(frame[4, 4].argmax()) for frame in chosen if frame is not None} == {1, 2}


def test_frames_of_a_tested_place_are_no_backgrounds_where_the_place_must_be_new() -> None:
    frames = [Sample(Path(f"{place}.jpg"), "blank", location=place) for place in ("s1", "s2", "s3", "")]
    samples = [Sample(Path(f"{n}.jpg"), "disc", location=place) for n, place in enumerate(("s1", "s2", "s2", "s1"))]
    kept = trainable_backgrounds(frames, samples, Fold(train=(0, 3), test=(1, 2)))
    assert [frame.location for frame in kept] == ["s1", "s3", ""]
    assert trainable_backgrounds(frames, samples, Fold(train=(0, 1), test=(2, 3))) == tuple(frames)


def test_mixed_targets_are_shares_of_two_labels() -> None:
    mixing = Mixing(AugmentSettings(mixup=1.0, cutmix=1.0), num_labels=4)
    torch.manual_seed(0)
    mixed = mixing(torch.rand(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1]))
    assert mixed is not None
    assert torch.allclose(mixed[1].sum(1), torch.ones(6))
    assert mixing.wanted()
    assert mixing(torch.rand(1, 3, 8, 8), torch.tensor([0])) is None
    assert not Mixing(AugmentSettings(), 4).wanted()
