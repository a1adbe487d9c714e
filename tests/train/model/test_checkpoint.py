"""A checkpoint comes back as it was saved, and is never left half written."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge.inference.card import Label, Source
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind
from train import TrainError
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.recipe import NetworkSpec

LABELS = (
    Label("red_fox", Kind.ANIMAL, "red fox", Taxon("Vulpes vulpes", "species", "red fox", genus="Vulpes")),
    Label("blank", Kind.BLANK, "blank"),
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    spec = NetworkSpec("resnet10t", groups=((0, 2), (1,)), blank=1)
    made = ("test", "1", "2026-01-01T00:00:00Z")
    checkpoint = Checkpoint(*made, spec, Network(spec, 2).state_dict(), LABELS, 64, 48, fit="letterbox")
    sources = (Source("a", "b", "c"),)
    return replace(checkpoint, metrics={"accuracy (made)": 0.5}, recipe={"epochs": 1}, sources=sources)


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.pt"
    checkpoint.save(path)
    loaded = Checkpoint.load(path)
    for name in Checkpoint.__slots__:
        if name != "state":
            assert getattr(loaded, name) == getattr(checkpoint, name), name
    images = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        for ours, theirs in zip(checkpoint.build_network()(images), loaded.build_network()(images), strict=True):
            assert torch.equal(ours, theirs)


def test_failed_save_leaves_the_old_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save(path)
    before = path.read_bytes()

    def full(document: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainError, match="No space left on device"):
        checkpoint.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_files_that_are_no_checkpoint_are_refused_in_one_line(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    for name, expected in (
        ("none.pt", "does not exist"),
        ("text.pt", "not a checkpoint"),
        ("other.pt", "not a checkpoint"),
    ):
        with pytest.raises(TrainError, match=expected) as caught:
            Checkpoint.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(checkpoint: Checkpoint) -> None:
    checkpoint.state.pop("head.bias")
    with pytest.raises(TrainError, match="not those of its network"):
        checkpoint.build_network()
