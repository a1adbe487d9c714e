"""Training images: a sample's pixels after random crop, background, conditions and policy, drawn by a seed of
its own.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from train import TrainError
from train.data.image_cache import PixelSource
from train.data.sample import Sample
from train.fit.augment.annotated_image import AnnotatedImage, cut
from train.fit.augment.background import paste_into, replace_background
from train.fit.augment.camera_trap import apply_conditions
from train.fit.augment.random_crops import choose_crop
from train.recipe import AugmentSettings

SampleSeed = tuple[int, int]
"""(sample, seed): all that a training image depends on, so that a resumed run sees the same images."""


class TrainingImages(Dataset[tuple[Tensor, int, Tensor]]):
    """(sample, seed) -> (uint8[3, S, S], label, box float32[4] as x, y, width, height, NaN where unknown)."""

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[str],
        source: PixelSource,
        settings: AugmentSettings,
        size_px: int,
        backgrounds: Sequence[Sample] = (),
    ) -> None:
        """`backgrounds` are frames without an animal; a sample never gets one of its own location.

        Raises `TrainError` where `settings` ask for other backgrounds and there are none, or no box to keep.
        """
        if settings.background > 0 and not (backgrounds and any(sample.box for sample in samples)):
            raise TrainError(
                "augment.background needs frames without animals and animals with boxes; "
                "give --backgrounds and boxed data, or set it to 0"
            )
        self.samples, self.source, self.settings, self.size_px = samples, source, settings, size_px
        self.backgrounds = backgrounds
        self.labels = {label: place for place, label in enumerate(labels)}
        self.policy: v2.Transform | None = None
        if settings.policy == "trivial":
            self.policy = v2.TrivialAugmentWide()  # Müller and Hutter 2021
        elif settings.policy == "rand":
            self.policy = v2.RandAugment(magnitude=settings.rand_magnitude)  # Cubuk et al. 2020
        self.erasing = v2.RandomErasing(p=settings.erase, value=127)  # Zhong et al. 2020; 127 is zero to the network

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: SampleSeed) -> tuple[Tensor, int, Tensor]:
        number, seed = key
        cv2.setNumThreads(0)  # the loader's processes are the threads; more of them would fight over the cores
        sample = self.samples[number]
        rng = np.random.default_rng(seed)
        annotated = self._image(sample, rng)
        pixels = apply_conditions(annotated.pixels, self.settings, rng)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if self.policy is not None or self.settings.erase > 0:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                image = self.erasing(image if self.policy is None else self.policy(image))
        box = annotated.box
        corners = [box.x, box.y, box.width, box.height] if box else [float("nan")] * 4
        return image, self.labels[sample.label], torch.tensor(corners)

    def _image(self, sample: Sample, rng: np.random.Generator) -> AnnotatedImage:
        whole = AnnotatedImage(
            self.source.read(sample), self.source.box_in_image(sample), self.source.keypoints_in_image(sample)
        )
        settings = self.settings
        image = cut(whole, choose_crop(whole, settings, rng), self.size_px)
        draws = rng.random(2)
        if draws[0] < settings.background and (frame := self._background(sample, rng)) is not None:
            image = replace_background(image, frame, rng)
        if draws[1] < settings.paste:
            image = paste_into(image, self._background(sample, rng), settings.paste_side, rng)
        return image

    def _background(self, sample: Sample, rng: np.random.Generator) -> np.ndarray | None:
        others = [b for b in self.backgrounds if not sample.location or b.location != sample.location]
        return self.source.read(others[int(rng.integers(len(others)))]) if others else None
