"""Each reader on a layout written as its authors describe it."""

import csv
import gzip
import hashlib
import json
import pickle
import shutil
import tarfile
import threading
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10

from edge.frame import decode
from edge.report.cli import main as report
from tests.edge.report.by_hand import ByHand
from train.datasets import read_dataset, recognise_layout
from train.sample import Box, DataError

PICTURE = np.full((20, 40, 3), 120, np.uint8)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), PICTURE)
    return path


def close(box: Box | None, expected: tuple[float, float, float, float]) -> bool:
    assert box is not None
    return bool(np.allclose((box.x, box.y, box.width, box.height), expected))


def test_folder_reads_labels_locations_and_splits(tmp_path: Path) -> None:
    picture(tmp_path / "plain" / "impala" / "cam1" / "a.jpg")
    picture(tmp_path / "plain" / "zebra" / "b.png")
    (tmp_path / "plain" / "zebra" / "notes.txt").write_text("no image")
    plain = read_dataset(tmp_path / "plain")
    assert [(s.label, s.location) for s in plain.samples] == [("impala", "cam1"), ("zebra", "")]
    picture(tmp_path / "parted" / "train" / "impala" / "a.jpg")
    picture(tmp_path / "parted" / "test" / "impala" / "b.jpg")
    parted = read_dataset(tmp_path / "parted")
    assert sorted((s.label, s.split) for s in parted.samples) == [("impala", "test"), ("impala", "train")]


def test_deeper_folders_are_of_the_same_camera(tmp_path: Path) -> None:
    for camera in ("cam1", "cam2"):
        for number in ("100MEDIA", "101MEDIA"):
            picture(tmp_path / "impala" / camera / number / "a.jpg")
    assert [s.location for s in read_dataset(tmp_path).samples] == ["cam1", "cam1", "cam2", "cam2"]


def test_folders_without_images_and_hidden_ones_are_no_labels(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / split / "impala" / "a.jpg")
        picture(tmp_path / split / "impala" / "._a.jpg")  # what macOS leaves beside files
        picture(tmp_path / split / ".thumbnails" / "a.jpg")
    picture(tmp_path / "__MACOSX" / "train" / "impala" / "a.jpg")
    (tmp_path / "docs").mkdir()
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.split) for s in dataset.samples] == [("impala", "test"), ("impala", "train")]
    picture(tmp_path / "zebra" / "a.jpg")
    with pytest.raises(DataError, match="holds test/ beside zebra/"):
        read_dataset(tmp_path)


def test_what_folders_hold_beside_class_folders_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="holds 1 images and no class folder; expected a folder for each label"):
        read_dataset(tmp_path)
    picture(tmp_path / "impala" / "a.jpg")
    assert read_dataset(tmp_path).labels() == ("impala",)
    assert capsys.readouterr().err == (
        f"warning: 1 images lie in no class folder and are passed over, e.g. {tmp_path}/a.jpg\n"
    )
    parted = tmp_path / "parted"
    for path in ("train/impala/a.jpg", "test/impala/b.jpg", "test/b.jpg"):
        picture(parted / path)
    (parted / "test" / "zebra").mkdir()
    assert read_dataset(parted).labels() == ("impala",)
    assert capsys.readouterr().err == (
        f"warning: 1 images lie in no class folder and are passed over, e.g. {parted}/test/b.jpg\n"
        "warning: folders without an image are passed over: zebra\n"
    )
    with pytest.raises(DataError, match="is a file; expected a folder of class folders"):
        read_dataset(tmp_path / "a.jpg", "folder")


def test_manifest_reads_every_column_and_lists_bad_rows(tmp_path: Path) -> None:
    columns = (
        "path,label,scientificName,site,event,captured_at,split,width_px,height_px,box_x,box_y,box_width,box_height"
    )
    (tmp_path / "manifest.csv").write_text(
        f"{columns},keypoints\n"
        "a.jpg,impala,Aepyceros melampus,s1,7,2020-01-02T03:04:05,train,40,20,0.1,0.2,0.3,0.4,"
        "beak:0.1:0.2 tail:0.5:0.6\n"
        "b.jpg,impala,Aepyceros melampus,s1,7,never,train,40,20,,,,,\n"
        "c.jpg,,,,,,,,,,,,,\n",
        encoding="utf-8",
    )
    dataset = read_dataset(tmp_path)
    (sample,) = dataset.samples
    assert (sample.location, sample.sequence, sample.split, sample.size_px) == ("s1", "7", "train", (40, 20))
    assert sample.captured_at is not None
    assert sample.captured_at.isoformat() == "2020-01-02T03:04:05+00:00"
    assert close(sample.box, (0.1, 0.2, 0.3, 0.4))
    assert [p.name for p in sample.keypoints] == ["beak", "tail"]
    assert dataset.taxa["impala"].genus == "Aepyceros"
    assert [problem.partition(":")[0] for problem in dataset.problems] == ["manifest.csv line 3", "manifest.csv line 4"]


def test_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match="lacks the column label"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path;label\na.jpg;x\n", "has semicolons between its columns; expected commas"),
        ("label\tsite\tpath\nx\ts1\ta.jpg\n", "has tabs between its columns; expected commas"),
        ("path;site\na.jpg;s1\n", "lacks the column label and path; add it"),
        ("path,label\n", "has no row below its columns; add one"),
        ('path,label,note\na.jpg,x,"cut\nb.jpg,x,\nc.jpg,x,\n', "line 2: .* look for a quote too many"),
        ("path,label,captured_at\n" + "a.jpg,x,31.12.2021 17:00\n" * 3,
         "3 cannot be used, e.g. manifest.csv line 2: captured_at '31.12.2021 17:00' is not ISO 8601"),
        ("path,label,width_px,height_px\na.jpg,x,wide,9\n", "line 2: width_px 'wide' is no whole number of pixels"),
        ("path,label,keypoints\na.jpg,x,beak:0.5\n", "line 2: keypoints 'beak:0.5' is not name:x:y"),
        ("path,label\na.jpg,x,y\n", "line 2: it has more cells than there are columns"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_manifest_is_told_in_one_line(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(table)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_splits_of_a_manifest_are_read_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,split\na.jpg,x,Train\nb.jpg,x,TEST\n")
    assert [sample.split for sample in read_dataset(tmp_path).samples] == ["train", "test"]


def test_manifest_boxes_in_pixels_are_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\na.jpg,x,0,0,200,150\nb.jpg,x,0.5,0.5,0.505,0.5\nc.jpg,x,0,0,1,\n"
    )
    dataset = read_dataset(tmp_path)
    assert [sample.path.name for sample in dataset.samples] == ["b.jpg"]
    assert close(dataset.samples[0].box, (0.5, 0.5, 0.5, 0.5))
    assert "line 2: box 0 0 200 150 is no part of the frame; fractions 0..1 are expected" in dataset.problems[0]
    assert "line 4: box '0' '0' '1' '' is incomplete" in dataset.problems[1]


def test_manifest_in_another_encoding_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("path,label\na.jpg,Rüppell\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        read_dataset(tmp_path)


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
    picture(tmp_path / "images" / "p" / "0.jpg")
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
        picture(tmp_path / place / "0.jpg")
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


CAMTRAP_DP = {
    "deployments": [
        ["deploymentID", "locationID", "locationName", "latitude", "longitude", "deploymentStart", "deploymentEnd"],
        ["d1", "gate", "The gate", "51", "4", "2020-01-01T00:00:00+0200", "2020-02-01T00:00:00+0200"],
        ["d2", "gate", "The gate", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
        ["d3", "", "The ford", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
        ["d4", "", "NA", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
    ],
    "media": [
        ["mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileMediatype"],
        *(
            [name, deployment, "activityDetection", f"2020-01-01T{at}+0200", path, "true", "image/jpeg"]
            for name, deployment, at, path in [
                ("m1", "d1", "10:00:00", "media/1.jpg"),
                ("m2", "d1", "10:00:01", "media/2.jpg"),
                ("m3", "d1", "11:00:00", "https://example.org/3.jpg"),
                ("m4", "d2", "10:00:00", "media/4.jpg"),
                ("m5", "d3", "10:00:00", "media/5.jpg"),
                ("m6", "d4", "10:00:00", "media/6.jpg"),
                ("m7", "d4", "12:00:00", "media/7.jpg"),
            ]
        ),
    ],
    "observations": [
        ["observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
         "observationType", "scientificName", "bboxX", "bboxY", "bboxWidth", "bboxHeight"],
        ["o1", "d1", "m1", "e1", "2020-01-01T10:00:00+0200", "2020-01-01T10:00:01+0200", "media", "animal",
         "Vulpes vulpes", "0.1", "0.2", "0.3", "0.4"],
        ["o2", "d1", "", "e1", "2020-01-01T10:00:00+0200", "2020-01-01T10:00:01+0200", "event", "animal",
         "Vulpes vulpes", "", "", "", ""],
        ["o3", "d2", "m4", "e2", "2020-01-01T10:00:00+0200", "2020-01-01T10:00:00+0200", "media", "blank", "", "", "",
         "", ""],
        ["o4", "d3", "m5", "e3", "2020-01-01T10:00:00+0200", "2020-01-01T10:00:00+0200", "media", "human",
         "Homo sapiens", "", "", "", ""],
        # In Coordinated Universal Time: 10:00 at the camera, not 12:00.
        ["o5", "d4", "", "e4", "2020-01-01T07:59:00Z", "2020-01-01T08:01:00Z", "event", "animal", "Meles meles", "",
         "", "", ""],
    ],
}  # fmt: skip


def write_camtrap_dp(folder: Path, **changed: list[list[str]]) -> None:
    for name, rows in (CAMTRAP_DP | changed).items():
        write_csv(folder / f"{name}.csv", *rows)
    write_camtrap_dp_resources(folder, {name: f"{name}.csv" for name in CAMTRAP_DP})


def write_camtrap_dp_resources(folder: Path, paths: dict[str, object]) -> None:
    resources = [{"name": name, "path": path} for name, path in paths.items()]
    (folder / "datapackage.json").write_text(json.dumps({"resources": resources}))


def test_camtrap_dp_media_and_event_observations(tmp_path: Path) -> None:
    write_camtrap_dp(tmp_path)
    dataset = read_dataset(tmp_path)
    assert [(s.path.name, s.label, s.location, s.sequence) for s in dataset.samples] == [
        ("1.jpg", "Vulpes vulpes", "gate", "e1"),
        ("2.jpg", "Vulpes vulpes", "gate", "e1"),  # by its deployment and time
        ("4.jpg", "blank", "gate", "e2"),  # another deployment at the same place
        ("5.jpg", "human", "The ford", "e3"),
        ("6.jpg", "Meles meles", "d4", "e4"),
    ]
    assert close(dataset.samples[0].box, (0.1, 0.2, 0.3, 0.4))
    assert dataset.samples[1].box is None
    assert dataset.samples[0].captured_at is not None
    assert dataset.samples[0].captured_at.utcoffset() is not None
    assert dataset.taxa["Meles meles"].genus == "Meles"
    assert [problem.partition(": ")[0] for problem in dataset.problems] == [
        "https://example.org/3.jpg",
        "media/7.jpg",
    ]


def test_camtrap_dp_as_our_own_report_writes_it(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "made.db", zone="Africa/Nairobi")
    for camera in ("ford", "gate"):
        database.deployment(camera)
        for at_s, label in ((0, "impala"), (2, "impala"), (9000, "blank")):
            database.frame(at_s, label, camera=camera, path=f"/home/me/{camera}-{at_s}.jpg")
    database.connection.close()
    places = "".join(f"[deployment.{camera}]\nlatitude = 1.5\nlongitude = 36.5\n" for camera in ("ford", "gate"))
    (tmp_path / "study.toml").write_text(
        '[project]\ntitle = "Fords"\ncontributors = [{title = "A. Ranger"}]\nsampling_design = "opportunistic"\n'
        f'capture_method = "activityDetection"\n{places}'
    )
    asked = ["camtrap-dp", "--db", database.path, "--out", tmp_path / "package", "--config", tmp_path / "study.toml"]
    assert report([str(word) for word in asked]) == 0
    dataset = read_dataset(tmp_path / "package")
    assert dataset.problems == ()
    assert Counter((s.label, s.location) for s in dataset.samples) == {
        (label, camera): count
        for camera in ("ford", "gate")
        for label, count in (("Aepyceros melampus", 2), ("blank", 1))
    }
    assert dataset.taxa["Aepyceros melampus"].family == "Bovidae"
    assert dataset.taxa["Aepyceros melampus"].common_name == "impala"
    assert len({s.sequence for s in dataset.samples}) == 4  # two frames of one visit, and a blank, at each place


def test_camtrap_dp_tables_may_be_compressed_or_in_parts(tmp_path: Path) -> None:
    write_camtrap_dp(tmp_path)
    whole = read_dataset(tmp_path).samples
    (tmp_path / "media.csv.gz").write_bytes(gzip.compress((tmp_path / "media.csv").read_bytes()))
    (tmp_path / "media.csv").unlink()
    header, *rows = CAMTRAP_DP["observations"]
    write_csv(tmp_path / "part1.csv", header, *rows[:2])
    write_csv(tmp_path / "part2.csv", header, *rows[2:])
    write_camtrap_dp_resources(
        tmp_path,
        {"deployments": "deployments.csv", "media": "media.csv.gz", "observations": ["part1.csv", "part2.csv"]},
    )
    assert read_dataset(tmp_path).samples == whole


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["0.1", "0.1", "0.2", ""], "incomplete"),
        (["0.1", "0.1", "0", "0"], "no part of the frame"),
        (["10", "10", "200", "100"], "no part of the frame"),
    ],
)
def test_camtrap_dp_boxes_that_are_none_are_listed(tmp_path: Path, cells: list[str], problem: str) -> None:
    header, first, *others = CAMTRAP_DP["observations"]
    write_camtrap_dp(tmp_path, observations=[header, [*first[:-4], *cells], *others])
    dataset = read_dataset(tmp_path)
    assert "1.jpg" not in {sample.path.name for sample in dataset.samples}
    assert any(line.startswith("media/1.jpg: box") and problem in line for line in dataset.problems)


def test_camtrap_dp_bad_times_and_unboxed_species_are_listed(tmp_path: Path) -> None:
    header, first, *others = CAMTRAP_DP["media"]
    said, fox, *rest = CAMTRAP_DP["observations"]
    hare = [*fox[:8], "Lepus europaeus", "", "", "", ""]
    event = ["o9", "d2", "", "e9", "yesterday", "", "event", "animal", "Meles meles", "", "", "", ""]
    write_camtrap_dp(
        tmp_path,
        media=[header, first, *([*row[:3], "30/05/2020", *row[4:]] for row in others[:1]), *others[1:]],
        observations=[said, fox, hare, *rest, event],
    )
    dataset = read_dataset(tmp_path)
    assert {"1.jpg", "2.jpg"}.isdisjoint({sample.path.name for sample in dataset.samples})
    text = "\n".join(dataset.problems)
    assert "media/1.jpg: Lepus europaeus and Vulpes vulpes without a box for each" in text
    assert "media/2.jpg: its time '30/05/2020' is not ISO 8601" in text
    assert "observation o9: its time 'yesterday'" in text


def test_a_camtrap_dp_package_that_is_not_whole_is_told_in_one_line(tmp_path: Path) -> None:
    for document in ("[]", "{", '{"resources": [{"path": "media.csv"}]}', '{"resources": [], "taxonomic": ["fox"]}'):
        (tmp_path / "datapackage.json").write_text(document)
        with pytest.raises(DataError, match="does not describe a Camtrap DP package"):
            read_dataset(tmp_path)
    write_camtrap_dp(tmp_path)
    (tmp_path / "deployments.csv").unlink()
    assert "no table of deployments" in read_dataset(tmp_path).problems[0]
    for media, problem in (
        ("https://example.org/media.csv", "is an address"),
        ("none.csv", "none.csv cannot be read"),
        ("observations.csv", "lacks the column filePath"),
    ):
        write_camtrap_dp_resources(tmp_path, {"media": media, "observations": "observations.csv"})
        with pytest.raises(DataError, match=problem):
            read_dataset(tmp_path)


def test_inaturalist_folders_name_the_whole_lineage(tmp_path: Path) -> None:
    name = "00013_Animalia_Chordata_Mammalia_Carnivora_Canidae_Vulpes_vulpes"
    picture(tmp_path / "2021_train_mini" / name / "a.jpg")
    picture(tmp_path / "2021_valid" / name / "b.jpg")
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.split) for s in dataset.samples] == [("Vulpes vulpes", "train"), ("Vulpes vulpes", "val")]
    assert dataset.taxa["Vulpes vulpes"].family == "Canidae"


@pytest.mark.parametrize(
    ("folder", "label", "species"),
    [
        ("2017/Mammalia/Vulpes vulpes", "Vulpes vulpes", "Vulpes vulpes"),
        ("2018/Mammalia/5221", "Mammalia 5221", ""),
        ("2019/Birds/17", "Birds 17", ""),
    ],
)
def test_inaturalist_before_2021(tmp_path: Path, folder: str, label: str, species: str) -> None:
    picture(tmp_path / folder / "a.jpg")
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.scientific_name) for s in dataset.samples] == [(label, species)]
    assert set(dataset.taxa) == {species} - {""}


def test_folders_of_years_are_no_inaturalist(tmp_path: Path) -> None:
    picture(tmp_path / "2019" / "cam1" / "a.jpg")
    assert recognise_layout(tmp_path) == "folder"
    for year in ("2018", "2019"):
        picture(tmp_path / "both" / year / "Fungi" / "3" / "a.jpg")
    with pytest.raises(DataError, match="expected one year"):
        read_dataset(tmp_path / "both")


def test_sizes_of_turned_pictures_are_those_of_upright_ones(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    path = tmp_path / "CUB_200_2011" / "images" / "001.A" / "x.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    for name, line in {
        "images": "1 001.A/x.jpg",
        "classes": "1 001.A",
        "image_class_labels": "1 1",
        "train_test_split": "1 1",
        "bounding_boxes": "1 2.0 4.0 10.0 20.0",
    }.items():
        (tmp_path / "CUB_200_2011" / f"{name}.txt").write_text(f"{line}\n")
    (sample,) = read_dataset(tmp_path).samples
    assert sample.size_px == decode(path.read_bytes()).pixels.shape[1::-1] == (20, 40)
    assert close(sample.box, (0.1, 0.1, 0.5, 0.5))


def test_the_size_of_a_boxed_frame_is_read_where_the_data_does_not_say_it(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\na.jpg,x,0.1,0.1,0.2,0.2\nmissing.jpg,x,0.1,0.1,0.2,0.2\n"
    )
    assert [sample.size_px for sample in read_dataset(tmp_path).samples] == [(40, 20), None]


def test_cub_original_layout_with_boxes_parts_and_split(tmp_path: Path) -> None:
    root = tmp_path / "CUB_200_2011"
    picture(root / "images" / "001.Black_footed_Albatross" / "x.jpg")
    picture(root / "images" / "002.Laysan_Albatross" / "y.jpg")
    tables = {
        "images.txt": "1 001.Black_footed_Albatross/x.jpg\n2 002.Laysan_Albatross/y.jpg\n",
        "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
        "image_class_labels.txt": "1 1\n2 2\n",
        "train_test_split.txt": "1 1\n2 0\n",
        "bounding_boxes.txt": "1 4.0 2.0 20.0 10.0\n2 0.0 0.0 40.0 20.0\n",
        "parts/parts.txt": "1 back\n2 left eye\n",
        "parts/part_locs.txt": "1 1 10.0 5.0 1\n1 2 20.0 5.0 1\n2 1 0.0 0.0 0\n",
    }
    for name, text in tables.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    first, second = read_dataset(tmp_path).samples
    assert (first.label, first.split, second.split) == ("Black_footed_Albatross", "train", "test")
    assert close(first.box, (0.1, 0.1, 0.5, 0.5))
    assert [(p.name, p.x, p.y) for p in first.keypoints] == [("back", 0.25, 0.25), ("left_eye", 0.5, 0.25)]
    assert second.keypoints == ()


def test_stanford_cars_devkit(tmp_path: Path) -> None:
    root = tmp_path / "stanford_cars"
    picture(root / "cars_train" / "00001.jpg")
    picture(root / "cars_test" / "00001.jpg")
    (root / "devkit").mkdir()
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array(["Audi A", "BMW B"], object)})
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")

    def table(label: int) -> dict[str, np.ndarray]:
        rows = np.zeros(2, [(name, object) for name in fields])
        for row in rows:
            for name, value in zip(fields, (4, 2, 24, 12, label, "00001.jpg"), strict=True):
                row[name] = value
        return {"annotations": rows}

    savemat(root / "devkit" / "cars_train_annos.mat", table(1))
    savemat(root / "cars_test_annos_withlabels.mat", table(2))
    dataset = read_dataset(tmp_path)
    assert {(s.label, s.split) for s in dataset.samples} == {("Audi A", "train"), ("BMW B", "test")}
    assert close(dataset.samples[0].box, (0.1, 0.1, 0.5, 0.5))
    assert dataset.samples[0].path.exists()


def test_flowers102_matlab_tables(tmp_path: Path) -> None:
    savemat(tmp_path / "imagelabels.mat", {"labels": np.array([[7, 7, 102]])})
    savemat(tmp_path / "setid.mat", {"trnid": [[1, 3]], "valid": [[2]], "tstid": np.zeros((1, 0))})
    dataset = read_dataset(tmp_path)
    assert [(s.path.name, s.label, s.split) for s in dataset.samples] == [
        ("image_00001.jpg", "007", "train"),
        ("image_00003.jpg", "102", "train"),
        ("image_00002.jpg", "007", "val"),
    ]


def test_cifar10_tar_is_unpacked_once(tmp_path: Path) -> None:
    for split in ("train", "test"):
        picture(tmp_path / "made" / split / "airplane" / "0000.png")
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
        for split in ("train", "test"):
            tar.add(tmp_path / "made" / split, split)
    shutil.rmtree(tmp_path / "made")
    samples = read_dataset(tmp_path / "cifar.tar.gz").samples
    assert sorted((s.label, s.split) for s in samples) == [("airplane", "test"), ("airplane", "train")]
    assert samples[0].path.exists()
    samples[0].path.unlink()
    assert len(read_dataset(tmp_path / "cifar.tar.gz").samples) == 1  # not unpacked again


def test_cifar10_tar_is_unpacked_by_one_of_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "made" / "train" / "airplane" / "0000.png")
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / "train", "train")
    other = threading.Thread(target=read_dataset, args=(tmp_path / "cifar.tar.gz",))
    unpacked: list[Path] = []
    extractall = tarfile.TarFile.extractall

    def while_another_comes(tar: tarfile.TarFile, path: Path) -> None:
        unpacked.append(path)
        if len(unpacked) == 1:
            other.start()
            other.join(0.3)  # it waits for us
        extractall(tar, path)

    monkeypatch.setattr(tarfile.TarFile, "extractall", while_another_comes)
    assert len(read_dataset(tmp_path / "cifar.tar.gz").samples) == 1
    other.join()
    assert len(unpacked) == 1


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`cifar-10-batches-py` as published, but of two classes, two pictures a batch, and with checksums of its own."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    names = [f"data_batch_{n}" for n in range(1, 6)]
    rows = np.stack([np.full(3072, 40, np.uint8), np.full(3072, 200, np.uint8)])
    sums = {name: write(name, {"data": rows, "labels": [0, 1]}) for name in (*names, "test_batch")}
    meta = write("batches.meta", {"label_names": ["airplane", "bird"]})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": meta})
    return folder


@pytest.mark.parametrize("given", ["folder", "batches", "tar"])
def test_cifar10_original_batches(batches: Path, tmp_path: Path, given: str) -> None:
    path = {"folder": batches.parent, "batches": batches, "tar": tmp_path / "cifar-10-python.tar.gz"}[given]
    if given == "tar":
        with tarfile.open(path, "w:gz") as tar:
            tar.add(batches, batches.name)
    samples = read_dataset(path).samples
    counts = Counter((sample.label, sample.split) for sample in samples)
    assert counts == {(label, "train"): 5 for label in ("airplane", "bird")} | {
        (label, "test"): 1 for label in ("airplane", "bird")
    }
    bird = next(sample for sample in samples if sample.label == "bird")
    assert (decode(bird.path.read_bytes()).pixels == 200).all()


def test_cifar10_that_is_not_whole_is_told_in_one_line(batches: Path, tmp_path: Path) -> None:
    (batches / "data_batch_3").write_bytes(b"cut")
    with pytest.raises(DataError, match="does not hold the train batches"):
        read_dataset(batches.parent)
    (tmp_path / "cifar.tar.gz").write_bytes(b"cut")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_dataset(tmp_path / "cifar.tar.gz")


def test_unknown_data_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no labelled image"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="is none of auto"):
        read_dataset(tmp_path, "fotos")


def test_a_folder_with_the_tar_of_cifar10_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg.tar.gz").touch()
    assert recognise_layout(tmp_path) == "cifar10"


@pytest.mark.parametrize("name", ["porini", "cub100"])
def test_real_manifests_are_read_whole(name: str) -> None:
    folder = Path(__file__).parents[4] / "shared" / "data" / name
    if not folder.exists():
        pytest.skip(f"no {name} in ../shared/data")
    assert recognise_layout(folder) == "manifest"
    dataset = read_dataset(folder)
    assert len(dataset.samples) == {"porini": 1896, "cub100": 5902}[name]
    assert dataset.problems == ()


def write_csv(path: Path, *rows: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
