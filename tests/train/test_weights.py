from pathlib import Path

import pytest
import torch

from train import TrainError
from train.checkpoint import Checkpoint
from train.network import NetworkSpec, build
from train.taxa_table import card_labels
from train.weights import build_with_weights

TINY = NetworkSpec("test_efficientnet")


def test_the_packages_weights_know_what_they_see() -> None:
    """Order alone maps 296 tensors: a wrong order would leave features that tell no picture from another."""
    spec = NetworkSpec()
    network = build_with_weights(spec, 2, "efficientnet-lite0").eval()
    grid = torch.linspace(-1, 1, 96)
    plain = (grid[None, None, :, None] + grid[None, None, None, :]).expand(1, 3, 96, 96) / 2
    stripes = torch.sign(torch.sin(grid * 60))[None, None, None, :].expand(1, 3, 96, 96)
    with torch.inference_mode():
        one, brighter, other = (network(picture).embedding[0] for picture in (plain, plain * 0.8 + 0.05, stripes))
    assert float(one @ brighter) > float(one @ other) + 0.2


def test_a_checkpoint_or_a_plain_state_starts_another_backbone(tmp_path: Path) -> None:
    trained = build(TINY, 3)
    labels = card_labels(("a", "b", "c"), {})
    Checkpoint("x", "1", "", TINY, trained.state_dict(), labels, 64, 64).save(tmp_path / "ours.pt")
    torch.save(next(trained.backbone.children()).state_dict(), tmp_path / "timm.pt")
    for name in ("ours.pt", "timm.pt"):
        network = build_with_weights(TINY, 5, str(tmp_path / name))
        for key, value in trained.backbone.state_dict().items():
            assert torch.equal(network.backbone.state_dict()[key], value)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(TrainError, match="are not those of the backbone"):
        build_with_weights(TINY, 3, str(tmp_path / "other.pt"))
    with pytest.raises(TrainError, match="cannot be read"):
        build_with_weights(TINY, 3, str(tmp_path / "absent.pt"))
    with pytest.raises(TrainError, match="fit the backbone tf_efficientnet_lite0 only"):
        build_with_weights(TINY, 3, "efficientnet-lite0")
