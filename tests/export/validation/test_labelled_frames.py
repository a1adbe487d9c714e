"""Labelled frames for calibration."""

from pathlib import Path

from export.validation.labelled_frames import read_labelled_frames
from train.data.taxa_table import card_labels


def test_a_frame_with_a_herd_counts_once(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\n"
        "herd.jpg,impala,0.1,0.1,0.2,0.2\nherd.jpg,impala,0.5,0.1,0.2,0.2\nalone.jpg,impala,0.5,0.1,0.2,0.2\n"
    )
    for name in ("herd.jpg", "alone.jpg"):
        (tmp_path / name).touch()
    frames = read_labelled_frames(tmp_path, card_labels(("impala",), {}))
    assert [frame.name for frame in frames] == ["herd.jpg", "alone.jpg"]
