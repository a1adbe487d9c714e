"""Mixes the images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), by torchvision."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from train.recipe import AugmentSettings


class Mixing:
    """Mixes a batch, by the settings; draws from torch's global generator, which the loop seeds for each step."""

    def __init__(self, settings: AugmentSettings, num_labels: int, share: float = 1.0) -> None:
        """`share` of the batches are mixed; the others stay for losses that need pure samples."""
        self.share = share
        self.kinds: list[v2.Transform] = []
        if settings.mixup > 0:
            self.kinds.append(v2.MixUp(alpha=settings.mixup, num_classes=num_labels))
        if settings.cutmix > 0:
            self.kinds.append(v2.CutMix(alpha=settings.cutmix, num_classes=num_labels))

    def wanted(self) -> bool:
        """Whether the next batch is to be mixed."""
        return bool(self.kinds) and float(torch.rand(())) < self.share

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """(float32[N, 3, H, W], float32[N, L]), or `None` for a single sample, which has no other to be mixed with."""
        if len(labels) < 2:
            return None
        kind = self.kinds[int(torch.randint(len(self.kinds), ()))]
        mixed, targets = kind(pixels, labels)
        return mixed, targets
