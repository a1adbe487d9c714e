"""Labelled frames for calibration."""

from pathlib import Path

from export.validation.labelled_frames import read_labelled_frames
from train.data.taxa_table import card_labels


def test_a_herd_is_one_scene(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\n"
        "herd.jpg,impala,0.1,0.1,0.2,0.2\nherd.jpg,impala,0.5,0.1,0.2,0.2\nalone.jpg,impala,0.5,0.1,0.2,0.2\n"
    )
    for name in ("herd.jpg", "alone.jpg"):
        (tmp_path / name).touch()
    scenes = read_labelled_frames(tmp_path, card_labels(("impala",), {}))
    assert [scene.name for scene in scenes] == ["herd.jpg", "alone.jpg"]
