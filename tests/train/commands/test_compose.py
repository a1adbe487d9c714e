"""Whole frames out of crops: the crop is where the table says, at the size that was asked for."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.made_animals import write_animals
from train.__main__ import main
from train.commands.compose import composed
from train.data.readers import read_dataset


def test_the_crop_is_in_its_box() -> None:
    crop, frame = np.full((180, 240, 3), (200, 40, 40), np.uint8), np.zeros((300, 400, 3), np.uint8)
    crop[60:120, 90:150] = (40, 200, 40)
    pixels, box = composed(crop, frame, 0.25, np.random.default_rng(0))
    assert pixels.shape == (720, 960, 3)
    assert box.height == pytest.approx(0.25)
    middle = pixels[round((box.y + box.height / 2) * 720), round((box.x + box.width / 2) * 960)]
    assert np.abs(middle.astype(int) - (40, 200, 40)).max() < 10


def test_a_crop_is_never_enlarged() -> None:
    crop, frame = np.zeros((60, 80, 3), np.uint8), np.zeros((300, 400, 3), np.uint8)
    pixels, box = composed(crop, frame, 0.5, np.random.default_rng(0))
    assert (round(box.height * pixels.shape[0]), round(box.width * pixels.shape[1])) == (60, 80)


def test_a_dataset_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_animals(tmp_path / "crops", each=4)
    cv2.imwrite(str(tmp_path / "empty.jpg"), np.full((200, 300, 3), 90, np.uint8))
    (tmp_path / "manifest.csv").write_text("path,label\nempty.jpg,blank\n")
    arguments = ["compose", "--recipe", "porini-plain", "--data", str(data), "--backgrounds", str(tmp_path)]
    arguments += ["--set", "data.taxa=''", "--set", "data.min_side_px=0", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--height", "0.6", "0.1"]) == 2
    assert "the smaller first" in capsys.readouterr().err
    assert main([*arguments, "--height", "0.08", "0.12"]) == 0
    made = read_dataset(tmp_path / "out")
    assert Counter(sample.label for sample in made.samples) == {"disc": 4, "bar": 4, "cross": 4}
    assert {sample.sequence for sample in made.samples} == {s.sequence for s in read_dataset(data).samples}
    assert all(sample.box and 0.079 < sample.box.height < 0.121 for sample in made.samples)


def test_an_animal_keeps_the_detail_of_its_crop(tmp_path: Path) -> None:
    stripes = np.repeat(np.tile(np.repeat([0, 255], 4), 40)[None, :, None], 320, 0).astype(np.uint8)
    for label in ("zebra", "okapi"):
        (tmp_path / "crops" / label).mkdir(parents=True)
        for name in ("a.jpg", "b.jpg"):
            cv2.imwrite(str(tmp_path / "crops" / label / name), np.repeat(stripes, 3, 2))
    cv2.imwrite(str(tmp_path / "empty.jpg"), np.full((200, 300, 3), 90, np.uint8))
    (tmp_path / "manifest.csv").write_text("path,label\nempty.jpg,blank\n")
    arguments = ["--recipe", "porini-plain", "--set", "data.taxa=''", "--set", "data.near_copies=ignore"]
    arguments += ["--set", "data.contradicted=keep", "--data", str(tmp_path / "crops"), "--backgrounds", str(tmp_path)]
    assert main(["compose", *arguments, "--height", "0.5", "0.5", "--out", str(tmp_path / "out")]) == 0
    for sample in read_dataset(tmp_path / "out").samples:
        frame = cv2.imread(str(sample.path))
        assert frame is not None
        assert sample.box is not None
        row = frame[round((sample.box.y + sample.box.height / 2) * frame.shape[0]), :, 0].astype(int)
        left, width = round(sample.box.x * frame.shape[1]), round(sample.box.width * frame.shape[1])
        assert row[left + width // 4 : left + 3 * width // 4].std() > 60


def test_nothing_of_the_users_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_animals(tmp_path / "crops", each=2)
    labels = data.read_text()
    arguments = ["compose", "--recipe", "porini-plain", "--data", str(data), "--backgrounds", str(tmp_path)]
    assert main([*arguments, "--out", str(data.parent)]) == 2
    assert f"{data.parent} is not empty; give a new folder as --out" in capsys.readouterr().err
    assert main([*arguments, "--out", str(data)]) == 2
    assert f"{data} cannot be written" in capsys.readouterr().err
    assert data.read_text() == labels


def test_a_label_is_no_path(tmp_path: Path) -> None:
    data = write_animals(tmp_path / "crops", each=2)
    data.write_text(data.read_text().replace(",disc,", f",{tmp_path}/disc,").replace(",bar,", ",..,"))
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "empty" / "0.jpg"), np.full((200, 300, 3), 90, np.uint8))
    arguments = ["--recipe", "porini-plain", "--data", str(data), "--backgrounds", str(tmp_path / "empty")]
    arguments += ["--set", "data.taxa=''", "--set", "data.min_side_px=0", "--out", str(tmp_path / "out")]
    before = set(tmp_path.iterdir())
    assert main(["compose", *arguments]) == 0
    assert set(tmp_path.iterdir()) == before | {tmp_path / "out"}
    assert read_dataset(tmp_path / "out").labels() == ("..", f"{tmp_path}/disc", "cross")
