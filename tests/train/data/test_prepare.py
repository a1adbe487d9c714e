"""From a dataset and a recipe to samples and folds."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.made_animals import LABELS, draw_animal, write_animals
from train.__main__ import main
from train.data.prepare import choose_folds, prepare, read_backgrounds
from train.data.sample import Box, DataError
from train.data.split import Fold
from train.data.taxa_table import read_taxa
from train.recipe import load_recipe
from train.run_folder import stored_warnings, write_split

PLAIN = ["--threads", "1", "--workers", "0"]


def write_herds(folder: Path, frames: int) -> Path:
    """`manifest.csv` of frames of 96 x 64 px with two boxed animals side by side: two of the label in even frames, one
    of it and a disc in odd ones.
    """
    rng = np.random.default_rng(0)
    rows = ["path,label,site,event,box_x,box_y,box_width,box_height"]
    folder.mkdir()
    for number in range(frames):
        label = LABELS[1 + number // 2 % 2]
        pair = (label, label if number % 2 == 0 else "disc")
        frame = np.concatenate([draw_animal(one, rng, 48) for one in pair], axis=1)
        frame = np.pad(frame, ((8, 8), (0, 0), (0, 0)))
        assert cv2.imwrite(str(folder / f"{number}.jpg"), frame)
        rows += [f"{number}.jpg,{one},s{number % 4},{number},{0.5 * n},0.125,0.5,0.75" for n, one in enumerate(pair)]
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder / "manifest.csv"


def test_boxes_are_images_where_they_are_cut_out_else_frames_are(
    tmp_path: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_herds(tmp_path / "herds", 16)
    cut_out = prepare(data, "auto", load_recipe(str(tiny_recipe), ["input.crop_margin=0.1"]), False)
    assert len(cut_out.samples) == 32
    assert {sample.size_px for sample in cut_out.samples} == {(96, 64)}
    whole = load_recipe(str(tiny_recipe), [])
    with pytest.raises(DataError, match="has 8 problems"):
        prepare(data, "auto", whole, False)
    assert capsys.readouterr().err.count("disc in one frame") == 8
    kept = prepare(data, "auto", whole, True).samples
    assert [sample.path.name for sample in kept] == [f"{number}.jpg" for number in range(0, 16, 2)]
    assert {sample.box for sample in kept} == {Box(0.0, 0.125, 1.0, 0.75)}


def test_fit_and_evaluate_boxes_that_are_cut_out(tmp_path: Path, tiny_recipe: Path) -> None:
    data = write_herds(tmp_path / "herds", 16)
    fit = ["fit", "--recipe", str(tiny_recipe), "--data", str(data), "--out", str(tmp_path / "run"), "--no-cache"]
    assert main([*fit, "--set", "input.crop_margin=0.1", "--set", "optimiser.epochs=1", *PLAIN]) == 0
    out = tmp_path / "out"
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(data), "--out", str(out), *PLAIN[2:]]) == 0
    assert json.loads((out / "metrics.json").read_text())["figures"]["images"] == 32


def test_a_report_names_what_its_split_leaks(
    animals: Path, tmp_path: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--set", "data.split=image", "--set", "optimiser.epochs=1"]
    fit = ["fit", "--recipe", str(tiny_recipe), "--data", str(animals), "--out", str(tmp_path / "run"), "--no-cache"]
    assert main([*fit, *changes, *PLAIN]) == 0
    said = "sequences are in both training and test"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "run" / "report.txt").read_text()
    assert said in json.loads((tmp_path / "run" / "metrics.json").read_text())["warnings"]
    pooled = tmp_path / "folds"
    for number in (0, 1):
        (pooled / f"fold-{number}").mkdir(parents=True)
        write_split(pooled / f"fold-{number}", (), Fold((), (), ("it leaks",)))
    assert stored_warnings(pooled) == ["fold-0: warning: it leaks", "fold-1: warning: it leaks"]


def test_folds_that_leak_nothing_have_no_warning(animals: Path, tiny_recipe: Path) -> None:
    recipe = load_recipe(str(tiny_recipe), [])
    assert [fold.warnings for fold in choose_folds(prepare(animals, "auto", recipe, False), recipe)] == [(), ()]


@pytest.mark.parametrize("row", ["", "blank,,,,,,,\n"])
def test_blanks_need_no_row_in_a_table_of_taxa(tmp_path: Path, tiny_recipe: Path, row: str) -> None:
    table = write_animals(tmp_path, each=4)
    table.write_text(table.read_text().replace(",disc,", ",blank,"))
    taxa = tmp_path / "taxa.csv"
    taxa.write_text(
        "label,scientificName,rank,common_name,class,order,family,genus\n"
        f"bar,Vulpes vulpes,species,red fox,,,,\n{row}cross,Meles meles,species,badger,,,,\n"
    )
    assert set(read_taxa(taxa)[0]) == {"bar", "cross"}
    prepared = prepare(tmp_path, "auto", load_recipe(str(tiny_recipe), [f"data.taxa={taxa}"]), False)
    assert [(label.name, label.kind) for label in prepared.labels] == [
        ("bar", "animal"),
        ("blank", "blank"),
        ("cross", "animal"),
    ]


def test_backgrounds_are_blanks_or_a_folder_of_images_without_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_animals(tmp_path / "labelled", each=2)
    with pytest.raises(DataError, match=r"no label blank or empty \(it has bar, cross, disc\)"):
        read_backgrounds(table.parent, False)
    table.unlink()
    with pytest.raises(DataError, match="no label blank or empty"):
        read_backgrounds(table.parent, False)
    (table.parent / "bar").rename(table.parent / "Empty")
    assert [sample.path.parent.name for sample in read_backgrounds(table.parent, False)] == ["Empty", "Empty"]
    alone = table.parent / "disc"
    (alone / "notes.txt").write_text("of no image")
    assert [sample.name for sample in read_backgrounds(alone, False)] == ["000.jpg", "001.jpg"]
    (alone / "001.jpg").write_bytes(b"half")
    with pytest.raises(DataError, match="disc has 1 problem"):
        read_backgrounds(alone, False)
    assert f"unreadable: {alone}/001.jpg" in capsys.readouterr().err
    assert [sample.name for sample in read_backgrounds(alone, True)] == ["000.jpg"]
    (alone / "000.jpg").unlink()
    with pytest.raises(DataError, match="holds no background that can be read"):
        read_backgrounds(alone, True)


def test_rows_of_backgrounds_that_are_faulty_are_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_animals(tmp_path, each=2)
    table.write_text("path,label,captured_at\nbar/000.jpg,blank,\nbar/001.jpg,blank,yesterday\n")
    with pytest.raises(DataError, match="has 1 problem"):
        read_backgrounds(table, False)
    assert "yesterday" in capsys.readouterr().err
    assert len(read_backgrounds(table, True)) == 1


def test_samples_that_are_too_small_are_counted_by_label(
    tmp_path: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_animals(tmp_path, each=4).unlink()  # it says the sizes
    for name in ("bar/000.jpg", "bar/001.jpg", "disc/003.jpg"):
        assert cv2.imwrite(str(tmp_path / name), np.zeros((20, 90, 3), np.uint8))
    changes = ["data.min_side_px=40", "data.near_copies=ignore"]
    assert len(prepare(tmp_path, "auto", load_recipe(str(tiny_recipe), changes), False).samples) == 9
    said = "3 samples are left out, smaller than data.min_side_px 40: 2 bar, 1 disc\n"
    assert said in capsys.readouterr().err
    with pytest.raises(DataError, match=r"no sample of .* is left; .* lower data.min_side_px"):
        prepare(tmp_path, "auto", load_recipe(str(tiny_recipe), ["data.min_side_px=5000"]), False)


def test_an_excluded_label_that_the_data_lacks_is_told(
    animals: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(str(tiny_recipe), ["data.exclude=['disc', 'crss']"])
    assert prepare(animals, "auto", recipe, False).label_names == ("bar", "cross")
    said = "data.exclude names crss, of which the data has no sample; its labels are bar, cross, disc\n"
    assert said in capsys.readouterr().err


def test_locations_that_near_duplicates_join_are_counted(
    tmp_path: Path, tiny_recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_animals(tmp_path, each=12)
    rows = [row.split(",") for row in table.read_text().splitlines()[1:]]
    places = sorted({site: tmp_path / path for path, _, site, *_ in rows}.values())
    places[1].write_bytes(places[0].read_bytes())
    prepare(table, "auto", load_recipe(str(tiny_recipe), ["data.near_copies=join"]), False)
    assert "and so do their locations (3 of 4)" in capsys.readouterr().err
