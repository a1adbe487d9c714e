"""Each reader on a layout written as its authors describe it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from edge.image.decode import decode
from tests.support.made_files import close, write_image
from train.data.readers import read_dataset, recognise_layout
from train.data.sample import DataError


def test_inaturalist_folders_name_the_whole_lineage(tmp_path: Path) -> None:
    name = "00013_Animalia_Chordata_Mammalia_Carnivora_Canidae_Vulpes_vulpes"
    write_image(tmp_path / "2021_train_mini" / name / "a.jpg")
    write_image(tmp_path / "2021_valid" / name / "b.jpg")
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
    write_image(tmp_path / folder / "a.jpg")
    dataset = read_dataset(tmp_path)
    assert [(s.label, s.scientific_name) for s in dataset.samples] == [(label, species)]
    assert set(dataset.taxa) == {species} - {""}


@pytest.mark.parametrize(
    ("other", "animal"),
    [
        (
            "2021_valid/1_Plantae_T_Magnoliopsida_Fagales_Fagaceae_Quercus_robur",
            "2021_valid/0_Animalia_C_M_C_C_Vulpes_vulpes",
        ),
        ("2018/Plantae/7", "2018/Mammalia/1"),
        ("2019/Plants/7", "2019/Birds/1"),
    ],
)
def test_inaturalist_tells_what_is_no_animal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str, animal: str
) -> None:
    write_image(tmp_path / animal / "a.jpg")
    read_dataset(tmp_path)
    assert not capsys.readouterr().err
    write_image(tmp_path / other / "b.jpg")
    assert len(read_dataset(tmp_path).samples) == 2
    assert "warning: classes that are no animals: 1 (Plant" in capsys.readouterr().err


def test_folders_of_years_are_no_inaturalist(tmp_path: Path) -> None:
    write_image(tmp_path / "2019" / "cam1" / "a.jpg")
    assert recognise_layout(tmp_path) == "folder"
    for year in ("2018", "2019"):
        write_image(tmp_path / "both" / year / "Fungi" / "3" / "a.jpg")
    with pytest.raises(DataError, match="expected one year"):
        read_dataset(tmp_path / "both")


def test_sizes_of_turned_images_are_those_of_upright_ones(tmp_path: Path) -> None:
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
    write_image(tmp_path / "a.jpg")
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\na.jpg,x,0.1,0.1,0.2,0.2\nmissing.jpg,x,0.1,0.1,0.2,0.2\n"
    )
    assert [sample.size_px for sample in read_dataset(tmp_path).samples] == [(40, 20), None]


def test_cub_original_layout_with_boxes_parts_and_split(tmp_path: Path) -> None:
    root = tmp_path / "CUB_200_2011"
    write_image(root / "images" / "001.Black_footed_Albatross" / "x.jpg")
    write_image(root / "images" / "002.Laysan_Albatross" / "y.jpg")
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
    write_image(root / "cars_train" / "00001.jpg")
    write_image(root / "cars_test" / "00001.jpg")
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


def test_unknown_data_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no labelled image"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="is none of auto"):
        read_dataset(tmp_path, "fotos")


@pytest.mark.parametrize("name", ["porini", "cub100"])
def test_real_manifests_are_read_whole(name: str) -> None:
    folder = Path(__file__).parents[5] / "shared" / "data" / name
    if not folder.exists():
        pytest.skip(f"no {name} in ../shared/data")
    assert recognise_layout(folder) == "manifest"
    dataset = read_dataset(folder)
    assert len(dataset.samples) == {"porini": 1896, "cub100": 5902}[name]
    assert dataset.problems == ()
