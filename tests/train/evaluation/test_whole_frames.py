import csv
import re
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.image.box import Box
from edge.inference.model import Model
from train import TrainError
from train.__main__ import main
from train.data.sample import Sample
from train.evaluation.whole_frames import (
    Frame,
    FramePrediction,
    intersection_over_union,
    predict_frames,
    read_frames,
    summarise,
)


def write_frame(path: Path, taken: str) -> None:
    exif = Image.Exif()
    exif[0x0132] = taken
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(path, exif=exif)


def test_frames_near_to_training_are_counted_apart(tmp_path: Path, tiny_model: Path) -> None:
    model = Model(tiny_model)
    species = next(label.taxon.scientific_name for label in model.card.labels if label.taxon)
    write_frame(tmp_path / "near.jpg", "2021:07:01 12:20:00")
    write_frame(tmp_path / "far.jpg", "2021:07:01 12:40:00")
    cv2.imwrite(str(tmp_path / "stranger.jpg"), np.full((90, 120, 3), 200, np.uint8))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "source", "scientificName", "rank", "certainty"])
        writer.writerow(["near.jpg", "here", species, "species", "sure"])
        writer.writerow(["far.jpg", "here", species, "species", "sure"])
        writer.writerow(["stranger.jpg", "here", "Yeti yeti", "species", "sure"])
        writer.writerow(["unsure.jpg", "here", species, "species", "likely"])
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\nfar.jpg,0,0,1,1\n")
    frames = read_frames(tmp_path / "labels.csv", "here", tmp_path / "boxes.csv")
    training = [Sample(tmp_path / "crop.jpg", "a", captured_at=datetime(2021, 7, 1, 12, 0, tzinfo=UTC))]
    near, far, stranger = predict_frames(model, frames, training)
    assert (near.near_training, far.near_training, stranger.near_training) == (True, False, None)
    assert (near.known, stranger.known) == (True, False)
    said = summarise([near, far, stranger])
    assert "frames of trained species" in said
    with pytest.raises(TrainError, match="has no frame of source"):
        read_frames(tmp_path / "labels.csv", "elsewhere")
    # Without a time, of the frame or of what was trained on, nothing is known.
    assert [answer.near_training for answer in predict_frames(model, frames)] == [None] * 3
    untimed = [Sample(tmp_path / "crop.jpg", "a")]
    assert [answer.near_training for answer in predict_frames(model, frames, untimed)] == [None] * 3
    write_frame(tmp_path / "near.jpg", "unset")
    counts = re.findall(r"(\d+)   right: whole frame", summarise(predict_frames(model, frames, training)))
    assert counts == ["2", "1", "0", "1"]  # all, far, near, not known


def test_tables_of_frames_that_lack_something_are_refused(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, boxes = tmp_path / "labels.csv", tmp_path / "boxes.csv"
    table.write_text("path,scientificName,rank,certainty\na.jpg,Yeti yeti,species,sure\nb.jpg\n")
    write_frame(tmp_path / "a.jpg", "unset")
    assert [frame.path.name for frame in read_frames(table)] == ["a.jpg"]
    with pytest.raises(TrainError, match="lacks the column source; expected a table with path"):
        read_frames(table, "here")
    boxes.write_text("path,y,width,height\n")
    with pytest.raises(TrainError, match=r"boxes\.csv lacks the column x;"):
        read_frames(table, boxes=boxes)
    boxes.write_text("path,x,y,width,height\na.jpg,left,0,1,1\n")
    with pytest.raises(TrainError, match=r"a\.jpg: could not convert .* 'left'; expected fractions"):
        read_frames(table, boxes=boxes)
    boxes.write_bytes("path,x,y,width,height\n".encode("utf-16"))
    with pytest.raises(TrainError, match=r"boxes\.csv cannot be read"):
        read_frames(table, boxes=boxes)
    training = tmp_path / "crops.csv"
    training.write_text("path,label,captured_at\na.jpg,yeti,\na.jpg,yeti,yesterday\n")
    frames = ["frames", str(tiny_model), "--frames", str(table), "--training", str(training)]
    assert main(frames) == 0
    assert "2 of 2 training samples have no time" in capsys.readouterr().err
    (tmp_path / "a.jpg").unlink()
    assert main(frames) == 2
    assert f"missing_file: {tmp_path}/a.jpg" in capsys.readouterr().err


def test_intersection_over_union() -> None:
    assert intersection_over_union(Box(0, 0, 0.5, 1), Box(0, 0, 1, 1)) == pytest.approx(0.5)
    assert intersection_over_union(Box(0, 0, 0.2, 0.2), Box(0.5, 0.5, 0.2, 0.2)) == 0


def test_animals_are_found_where_a_box_centre_lies_in_the_region() -> None:
    region, inside, outside = Box(0, 0, 0.5, 0.5), Box(0.1, 0.1, 0.2, 0.2), Box(0.6, 0.6, 0.2, 0.2)

    def answer(name: str, *boxes: Box) -> FramePrediction:
        return FramePrediction(Frame(Path(name), "Equus quagga", boxes), True, False, "", "", None, region)

    said = summarise([answer("herd.jpg", inside, outside, outside), answer("lost.jpg", outside), answer("bare.jpg")])
    assert "box centres in the attention crop: 1 of 4, mean IoU 0.040" in said
    assert "frames with at least one of them in it: 1 of 2" in said
