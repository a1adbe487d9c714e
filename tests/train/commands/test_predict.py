"""`python -m train predict`: what it draws, and what it refuses before any work."""

from pathlib import Path

import pytest

from edge.inference.card import Label
from edge.vocabulary import Kind
from tests.support.made_animals import write_animals
from train.__main__ import main
from train.evaluation.gallery import Tile
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.recipe import NetworkSpec


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a network that no recipe made and that has learned nothing."""
    spec = NetworkSpec("test_efficientnet")
    labels = tuple(Label(name, Kind.UNKNOWN, name) for name in ("bar", "disc"))
    state = Network(spec, len(labels)).state_dict()
    made = Checkpoint("made", "1", "2026-01-01T00:00:00Z", spec, state, labels, 48, 48, recipe={"command": "by hand"})
    made.save(tmp_path / "made.pt")
    return tmp_path / "made.pt"


def test_images_are_shown_with_their_names(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_animals(tmp_path / "data", each=2)
    (tmp_path / "data" / "disc" / "._000.jpg").write_bytes(b"what a Mac leaves beside")
    drawn: list[Tile] = []
    monkeypatch.setattr("train.commands.predict.draw_gallery", lambda tiles, path, title: drawn.extend(tiles))
    predict = ["predict", str(checkpoint), str(tmp_path / "data"), "--out", str(tmp_path / "new" / "g.png")]
    assert main([*predict, "--count", "4"]) == 0
    said = capsys.readouterr()
    assert "the first 4 of 6 images" in said.err
    assert [line.split("\t")[0] for line in said.out.splitlines()][-1] == f"{tmp_path}/data/cross/001.jpg"
    assert [tile.caption.split("\n")[0] for tile in drawn] == ["000.jpg", "001.jpg"] * 2
    assert drawn[0].caption.split("\n")[1] == said.out.splitlines()[0].split("\t")[1]


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("g.jpg", "g.jpg; expected a PNG file to write, such as gallery.png"),
        ("gallery", "expected a PNG file to write"),
        ("folder.png", "expected a PNG file to write"),
        ("made.pt/g.png", "cannot be written (File exists)"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, why: str
) -> None:
    (tmp_path / "folder.png").mkdir()
    assert main(["predict", str(tmp_path / "no.pt"), str(tmp_path), "--out", str(tmp_path / out)]) == 2
    assert why in capsys.readouterr().err


def test_images_that_are_not_there_are_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_animals(tmp_path / "data", each=2)
    good, out = tmp_path / "data" / "bar" / "000.jpg", tmp_path / "g.png"
    (tmp_path / "bar.txt").write_text("of no image")
    predict = ["predict", str(checkpoint), "--out", str(out)]
    assert main([*predict, str(good), str(tmp_path / "nix.jpg"), str(tmp_path / "bar.txt")]) == 2
    said = capsys.readouterr().err
    assert f"missing_file: {tmp_path}/nix.jpg" in said
    assert f"unreadable: {tmp_path}/bar.txt" in said
    assert main([*predict, str(tmp_path / "nix.jpg"), "--skip-bad"]) == 2
    assert "no image there can be read" in capsys.readouterr().err
    assert main([*predict, str(good), "--count", "-30"]) == 2
    assert "--count is -30; expected at least 1" in capsys.readouterr().err
    assert not out.exists()


def test_nothing_is_enrolled_where_nothing_was_learned(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_animals(tmp_path / "data", each=2)
    assert main(["enrol", str(checkpoint), "--data", str(data), "--out", str(tmp_path / "new.pt")]) == 2
    assert "has no prototypes; give a run folder of `python -m train fit`" in capsys.readouterr().err
