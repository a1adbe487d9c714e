from pathlib import Path

import pytest
import timm
import torch
import torchvision

from train import TrainError
from train.data.taxa_table import card_labels
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.model.pretrained import build_with_weights
from train.recipe import NetworkSpec

TINY = NetworkSpec("test_efficientnet")


def test_the_packages_weights_know_what_they_see() -> None:
    """Order alone maps 296 tensors: a wrong order would leave features that tell no image from another."""
    spec = NetworkSpec()
    network = build_with_weights(spec, 2, "efficientnet-lite0").eval()
    grid = torch.linspace(-1, 1, 96)
    plain = (grid[None, None, :, None] + grid[None, None, None, :]).expand(1, 3, 96, 96) / 2
    stripes = torch.sign(torch.sin(grid * 60))[None, None, None, :].expand(1, 3, 96, 96)
    with torch.inference_mode():
        one, brighter, other = (network(image).embedding[0] for image in (plain, plain * 0.8 + 0.05, stripes))
    assert float(one @ brighter) > float(one @ other) + 0.2


def test_a_checkpoint_or_a_plain_state_starts_another_backbone(tmp_path: Path) -> None:
    trained = Network(TINY, 3)
    labels = card_labels(("a", "b", "c"), {})
    Checkpoint("x", "1", "", TINY, trained.state_dict(), labels, 64, 64).save(tmp_path / "ours.pt")
    torch.save(next(trained.backbone.children()).state_dict(), tmp_path / "timm.pt")
    for name in ("ours.pt", "timm.pt"):
        network = build_with_weights(TINY, 5, str(tmp_path / name))
        for key, value in trained.backbone.state_dict().items():
            assert torch.equal(network.backbone.state_dict()[key], value)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_state_of_torchvision_starts_its_backbone(tmp_path: Path, name: str) -> None:
    published = torchvision.models.get_model(name, weights=None)
    torch.save(published.state_dict(), tmp_path / "published.pt")
    network = build_with_weights(NetworkSpec(f"torchvision:{name}"), 5, str(tmp_path / "published.pt"))
    own, theirs = network.backbone.parameters(), published.parameters()
    assert all(torch.equal(one, other) for one, other in zip(own, theirs, strict=False))
    Checkpoint("x", "1", "", network.spec, network.state_dict(), card_labels(tuple("abcde"), {}), 64, 64).save(
        tmp_path / "ours.pt"
    )
    again = build_with_weights(network.spec, 5, str(tmp_path / "ours.pt")).backbone.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in network.backbone.state_dict().items())


def test_published_weights_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    get_model, create_model = torchvision.models.get_model, timm.create_model

    def torchvisions(name: str, weights: str | None) -> object:
        asked.append(weights)
        return get_model(name, weights=None)

    def timms(name: str, pretrained: bool, **settings: object) -> object:
        asked.append((name, pretrained))
        return create_model(name.partition(".")[0], **settings)

    monkeypatch.setattr(torchvision.models, "get_model", torchvisions)
    monkeypatch.setattr(timm, "create_model", timms)
    for weights in ("none", "published", "published:IMAGENET1K_V1"):
        build_with_weights(NetworkSpec("torchvision:resnet18"), 3, weights)
    assert asked == [None, "DEFAULT", "IMAGENET1K_V1"]
    build_with_weights(NetworkSpec("test_vit"), 3, "published")
    build_with_weights(NetworkSpec("test_vit"), 3, "published:r160_in1k")
    assert asked[3:] == [("test_vit", True), ("test_vit.r160_in1k", True)]


def test_what_holds_no_state_is_refused_in_one_line(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    (tmp_path / "text.safetensors").write_text("no tensors")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "recipe.toml").write_text('about = "no weights"\n')
    for name, message in (
        ("pickled.pt", "expected a state_dict"),
        ("list.pt", "expected a state_dict"),
        ("text.safetensors", "cannot be read"),
        ("empty.pt", "cannot be read"),
        ("recipe.toml", "expected a state_dict"),
    ):
        with pytest.raises(TrainError, match=message) as caught:
            build_with_weights(TINY, 3, str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(TrainError, match="are not those of the backbone"):
        build_with_weights(TINY, 3, str(tmp_path / "other.pt"))
    with pytest.raises(TrainError, match="cannot be read"):
        build_with_weights(TINY, 3, str(tmp_path / "absent.pt"))
    with pytest.raises(TrainError, match="fit the backbone tf_efficientnet_lite0 only"):
        build_with_weights(TINY, 3, "efficientnet-lite0")
