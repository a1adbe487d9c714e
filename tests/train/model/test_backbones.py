"""Every backbone that the manual names can be pooled by attention, classified and taught."""

import pytest
import torch

from tests.support.backbones import BACKBONES
from train import TrainError
from train.fit.losses.objective import Batch, Objective
from train.model.pretrained import build_with_weights
from train.recipe import LossSettings, NetworkSpec


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


def test_a_transformer_takes_images_of_another_size_than_its_own() -> None:
    network = build_with_weights(NetworkSpec("test_vit"), 3, "none").eval()
    for size_px, cells in ((160, 10), (96, 6), (224, 14)):
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, size_px, size_px)).attention.shape == (1, 1, cells, cells)


def test_channels_come_first_whatever_the_backbone_gives() -> None:
    spec = NetworkSpec("torchvision:swin_t")
    with torch.inference_mode():
        features = build_with_weights(spec, 3, "none").eval().backbone(torch.zeros(1, 3, 64, 64))
    assert features.shape == (1, 768, 2, 2)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("torchvision:googlenet", "not a chain of layers"),
        ("torchvision:shufflenet_v2_x0_5", "no feature map"),
        ("torchvision:nosuch", "there is no backbone"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_refused_in_one_line(backbone: str, message: str) -> None:
    with pytest.raises(TrainError, match=message) as caught:
        build_with_weights(NetworkSpec(backbone), 3, "none")
    assert "\n" not in str(caught.value)
