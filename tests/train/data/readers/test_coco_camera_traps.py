"""COCO Camera Traps as LILA writes it, and as others do."""

import json
from pathlib import Path

import pytest

from tests.support.made_files import close, write_image
from train.data.readers import read_dataset
from train.data.sample import DataError


def test_coco_camera_traps_as_lila_writes_it(tmp_path: Path) -> None:
    image = {"width": 40, "height": 20, "location": 33, "seq_id": "abc", "datetime": "2017-03-01 10:00:00"}
    document = {
        "info": {"version": "1.0"},
        "categories": [{"id": 0, "name": "empty"}, {"id": 1, "name": "deer"}, {"id": 2, "name": "fox"}],
        "images": [{"id": str(n), "file_name": f"p/{n}.jpg"} | image for n in range(5)],
        "annotations": [
            {"id": "a", "image_id": "0", "category_id": 1, "bbox": [4, 2, 20, 10]},
            {"id": "b", "image_id": "0", "category_id": 2, "bbox": [30, 10, 20, 20]},
            {"id": "c", "image_id": "1", "category_id": 0},
            {"id": "d", "image_id": "2", "category_id": 1},
            {"id": "e", "image_id": "2", "category_id": 2},
            {"id": "f", "image_id": "3", "category_id": 9},
        ],
    }
    write_image(tmp_path / "images" / "p" / "0.jpg")
    (tmp_path / "trap.json").write_text(json.dumps(document))
    dataset = read_dataset(tmp_path / "trap.json")
    assert [(s.label, s.location, s.sequence) for s in dataset.samples] == [
        ("deer", "33", "abc"),
        ("fox", "33", "abc"),
        ("blank", "33", "abc"),
    ]
    assert dataset.samples[0].path.exists()
    assert close(dataset.samples[0].box, (0.1, 0.1, 0.5, 0.5))
    assert close(dataset.samples[1].box, (0.75, 0.5, 0.25, 0.5))  # the part that lies in the frame
    assert dataset.samples[2].captured_at is not None
    assert sorted(p.partition(":")[0] for p in dataset.problems) == ["p/2.jpg", "p/3.jpg", "p/4.jpg"]


def coco(**lists: object) -> str:
    whole = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "deer"}, {"id": 2, "name": "fox"}]}
    return json.dumps(whole | lists)


def coco_frame(*annotations: dict[str, object], **image: object) -> str:
    """One image with these annotations."""
    frame = {"id": "0", "file_name": "0.jpg", "width": 40, "height": 20} | image
    return coco(images=[frame], annotations=[{"id": n, "image_id": "0"} | a for n, a in enumerate(annotations)])


def test_coco_without_location_or_sequence_has_none(tmp_path: Path) -> None:
    (tmp_path / "trap.json").write_text(coco_frame({"category_id": 1}, location=None, seq_id=None, datetime=None))
    (sample,) = read_dataset(tmp_path / "trap.json").samples
    assert (sample.location, sample.sequence, sample.captured_at) == ("", "", None)


def test_coco_in_a_folder_is_told_from_class_folders_by_its_file(tmp_path: Path) -> None:
    for place in ("S1", "S2"):
        write_image(tmp_path / place / "0.jpg")
    (tmp_path / "trap.json").write_text(coco_frame({"category_id": 1}, file_name="S1/0.jpg"))
    (tmp_path / "other.json").write_text('{"images": [], "detection_categories": {}}')  # as MegaDetector writes
    (tmp_path / "empty.json").touch()
    assert read_dataset(tmp_path).labels() == ("deer",)
    (tmp_path / "more.json").write_text(coco())
    with pytest.raises(DataError, match="2 files of COCO JSON"):
        read_dataset(tmp_path)


BOX = [4, 2, 20, 10]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (coco_frame({"category_id": 1, "bbox": BOX}, {"category_id": 2}), "0.jpg: deer and fox in one frame without"),
        (coco_frame({"category_id": 1, "bbox": [4, 2, 0, 0]}), "0.jpg: its box .* is no part of the frame"),
        (coco_frame({"category_id": 1, "bbox": [4, 2]}), "0.jpg: its box .* is no list of"),
        (coco_frame({"category_id": 1, "bbox": BOX}, width=None), "0.jpg: its box .* needs width and height"),
        (coco_frame({"category_id": 1}, file_name=None), "image 0: lacks id or file_name"),
        (coco_frame({"category_id": 1}, width="wide"), "0.jpg: its width 'wide' and height 20 are no sizes in pixels"),
        (coco(categories=[{"id": 7, "name": " "}]), "a category has an empty name"),
        (coco(annotations=[{"id": 7}]), "annotation 0: lacks image_id or category_id"),
        (coco(categories=[{"id": 7}]), "a category lacks its id or name"),
        (coco()[:40], "is not whole JSON"),
        ("[]", "has no list 'images'"),
    ],
)
def test_what_is_wrong_with_coco_is_told_in_one_line(tmp_path: Path, document: str, problem: str) -> None:
    (tmp_path / "trap.json").write_text(document)
    with pytest.raises(DataError, match=problem):
        read_dataset(tmp_path / "trap.json")
