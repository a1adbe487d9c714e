"""Class folders: which folders are labels, places and splits, and what is passed over."""

from pathlib import Path

import pytest

from tests.support.made_files import write_image
from train.data.readers import read_dataset
from train.data.sample import DataError


def test_folder_reads_labels_locations_and_splits(tmp_path: Path) -> None:
    write_image(tmp_path / "plain" / "impala" / "cam1" / "a.jpg")
    write_image(tmp_path / "plain" / "zebra" / "b.png")
    (tmp_path / "plain" / "zebra" / "notes.txt").write_text("no image")
    plain = read_dataset(tmp_path / "plain")
    assert [(s.label, s.location) for s in plain.samples] == [("impala", "cam1"), ("zebra", "")]
    write_image(tmp_path / "parted" / "train" / "impala" / "a.jpg")
    write_image(tmp_path / "parted" / "test" / "impala" / "b.jpg")
    parted = read_dataset(tmp_path / "parted")
    assert sorted((s.label, s.split) for s in parted.samples) == [("impala", "test"), ("impala", "train")]


def test_deeper_folders_are_of_the_same_camera(tmp_path: Path) -> None:
    for camera in ("cam1", "cam2"):
        for number in ("100MEDIA", "101MEDIA"):
            write_image(tmp_path / "impala" / camera / number / "a.jpg")
    assert [s.location for s in read_dataset(tmp_path).samples] == ["cam1", "cam1", "cam2", "cam2"]


def test_folders_without_images_and_hidden_ones_are_no_labels(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_image(tmp_path / split / "impala" / "a.jpg")
        write_image(tmp_path / split / "impala" / "._a.jpg")  # what macOS leaves beside files
        write_image(tmp_path / split / ".thumbnails" / "a.jpg")
    write_image(tmp_path / "__MACOSX" / "train" / "impala" / "a.jpg")
    (tmp_path / "docs").mkdir()
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.split) for s in dataset.samples] == [("impala", "test"), ("impala", "train")]
    write_image(tmp_path / "zebra" / "a.jpg")
    with pytest.raises(DataError, match="holds test/ beside zebra/"):
        read_dataset(tmp_path)


def test_what_folders_hold_beside_class_folders_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="holds 1 images and no class folder; expected a folder for each label"):
        read_dataset(tmp_path)
    write_image(tmp_path / "impala" / "a.jpg")
    assert read_dataset(tmp_path).labels() == ("impala",)
    assert capsys.readouterr().err == (
        f"warning: 1 images lie in no class folder and are ignored, e.g. {tmp_path}/a.jpg\n"
    )
    parted = tmp_path / "parted"
    for path in ("train/impala/a.jpg", "test/impala/b.jpg", "test/b.jpg"):
        write_image(parted / path)
    (parted / "test" / "zebra").mkdir()
    assert read_dataset(parted).labels() == ("impala",)
    assert capsys.readouterr().err == (
        f"warning: 1 images lie in no class folder and are ignored, e.g. {parted}/test/b.jpg\n"
        "warning: folders without an image are ignored: zebra\n"
    )
    with pytest.raises(DataError, match="is a file; expected a folder of class folders"):
        read_dataset(tmp_path / "a.jpg", "folder")
