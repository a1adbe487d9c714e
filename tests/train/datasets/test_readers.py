"""Each reader on a layout written as its authors describe it."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

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


def test_camtrap_dp_media_and_event_observations(tmp_path: Path) -> None:
    resources = [{"name": name, "path": f"{name}.csv"} for name in ("deployments", "media", "observations")]
    (tmp_path / "datapackage.json").write_text(json.dumps({"resources": resources}))
    write_csv(
        tmp_path / "media.csv",
        ["mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileMediatype", "eventID"],
        ["m1", "d1", "2020-01-01T10:00:00+0200", "media/1.jpg", "true", "image/jpeg", "e1"],
        ["m2", "d1", "2020-01-01T10:00:01+0200", "media/2.jpg", "true", "image/jpeg", "e1"],
        ["m3", "d1", "2020-01-01T11:00:00+0200", "https://example.org/3.jpg", "true", "image/jpeg", "e2"],
    )
    write_csv(
        tmp_path / "observations.csv",
        ["mediaID", "eventID", "observationType", "scientificName", "bboxX", "bboxY", "bboxWidth", "bboxHeight"],
        ["m1", "", "animal", "Vulpes vulpes", "0.1", "0.2", "0.3", "0.4"],
        ["", "e1", "animal", "Vulpes vulpes", "", "", "", ""],
    )
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.location, s.sequence) for s in dataset.samples] == [("Vulpes vulpes", "d1", "e1")] * 2
    assert close(dataset.samples[0].box, (0.1, 0.2, 0.3, 0.4))
    assert dataset.samples[1].box is None
    assert dataset.samples[0].captured_at is not None
    assert dataset.samples[0].captured_at.utcoffset() is not None
    assert len(dataset.problems) == 1


def test_inaturalist_folders_name_the_whole_lineage(tmp_path: Path) -> None:
    name = "00013_Animalia_Chordata_Mammalia_Carnivora_Canidae_Vulpes_vulpes"
    picture(tmp_path / "2021_train_mini" / name / "a.jpg")
    picture(tmp_path / "2021_valid" / name / "b.jpg")
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.split) for s in dataset.samples] == [("Vulpes vulpes", "train"), ("Vulpes vulpes", "val")]
    assert dataset.taxa["Vulpes vulpes"].family == "Canidae"


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
