"""Samples as the device would give them to the network: whole frames, box crops and attention crops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from edge.image.resize import Pixels, resize_to_input
from edge.inference.attention_crop import attention_crops, cut_crop
from edge.inference.card import FitMode
from train.data.image_cache import PixelSource, upright_size_px
from train.data.sample import Sample


@dataclass(frozen=True)
class EvaluationImages(Dataset[Tensor]):
    """uint8[3, S, S] of each sample, exactly as the device would make it."""

    samples: Sequence[Sample]
    source: PixelSource
    size_px: int
    mode: FitMode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.pixels(place).transpose(2, 0, 1)))

    def pixels(self, place: int) -> Pixels:
        """uint8[S, S, 3] of one sample."""
        return resize_to_input(self.source.read(self.samples[place]), self.size_px, self.size_px, self.mode)

    def at(self, places: Sequence[int]) -> "EvaluationImages":
        """Those samples alone."""
        return replace(self, samples=[self.samples[place] for place in places])

    def decoded_for_crops(self, fraction: float) -> "EvaluationImages":
        """The same frames, decoded in the detail that a device keeps for an attention crop of that side."""
        return replace(self, source=replace(self.source, min_side_px=math.ceil(self.size_px / fraction)))


@dataclass(frozen=True)
class AttentionCrops(EvaluationImages):
    """uint8[3, S, S] of the attention crop of each sample: the square around the peak of its attention."""

    attention: NDArray[np.float32]
    """float32[N, M, h, w] of the whole frames."""
    fraction: float
    """Side of the square as a fraction of the frame's shorter side."""

    def pixels(self, place: int) -> Pixels:
        sample = self.samples[place]
        width_px, height_px = upright_size_px(sample.path)
        (box,) = attention_crops(self.attention[place : place + 1], [(height_px, width_px)], self.fraction)
        crop = cut_crop(self.source.read(sample), box, self.size_px)
        return resize_to_input(crop, self.size_px, self.size_px, self.mode)
