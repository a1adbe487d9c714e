"""Every backbone that the manual names can be pooled by attention, classified and taught."""

import pytest
import torch

from train.losses.objective import Batch, Objective
from train.network import NetworkSpec
from train.recipe import LossSettings
from train.weights import build_with_weights

BACKBONES = {
    "tf_efficientnet_lite0": 64,
    "tf_efficientnet_lite1": 64,
    "tf_efficientnet_lite2": 64,
    "efficientnet_b0": 64,
    "resnet18": 64,
    "resnet50": 64,
    "mobilenetv3_large_100": 64,
    "convnext_tiny": 64,
    "vit_tiny_patch16_224": 224,
    "torchvision:resnet18": 64,
    "torchvision:mobilenet_v3_small": 64,
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_forward_and_backward(backbone: str) -> None:
    torch.manual_seed(0)
    size_px = BACKBONES[backbone]
    network = build_with_weights(NetworkSpec(backbone, "attention"), 3, "none")
    width = int(network.head.weight.shape[1])
    objective = Objective(network, LossSettings(), (1, 1, 1), (None,) * 3, width).train()
    labels = torch.tensor([0, 2])
    batch = Batch(torch.randn(2, 3, size_px, size_px), labels, labels, torch.full((2, 4), torch.nan), False)
    loss, logits = objective(batch)
    loss.backward()
    assert logits.shape == (2, 3)
    assert bool(torch.isfinite(loss))
    first = next(network.backbone.parameters()).grad
    assert first is not None
    assert bool(torch.isfinite(first).all())
    assert float(first.abs().sum()) > 0  # all the way down to the first layer
