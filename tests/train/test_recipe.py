import re
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import cv2
import numpy as np
import pytest

from tests.support.made_animals import LABELS, draw_animal
from train import TrainError
from train.data.prepare import choose_folds, prepare
from train.recipe import RECIPES, Recipe, load_recipe, recipe_from_document

ABLATIONS = RECIPES.parent / "ablations"


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_shipped_recipe_is_whole_and_survives_being_stored(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    assert recipe_from_document(recipe.document()) == recipe


def test_changes_are_applied_and_typed() -> None:
    recipe = load_recipe("porini", ["optimiser.epochs=2", "augment.policy=trivial", "data.exclude=[]", "augment.fog=1"])
    assert recipe.optimiser.epochs == 2
    assert recipe.augment.policy == "trivial"
    assert recipe.data.exclude == ()
    assert isinstance(recipe.augment.fog, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.epoch=2", "no setting 'optimiser.epoch'"),
        ("optimiser.epochs=two", "expected a whole number"),
        ("network.pooling=mean", "expected one of average, attention, parts"),
        ("optimiser=3", "expected a section"),
        ("about.x=3", "'about.x'; about is a value"),
        ("optimiser.epochs.x=3", "epochs is a value"),
        ("optimiser.epochs", "expected section.key=value"),
        ("data.exclude=impala", 'expected a list, e.g. ["impala"]'),
        ("sources=[{name='x'}]", "sources.role is not set"),
    ],
)
def test_a_misspelt_setting_never_passes_as_a_default(change: str, message: str) -> None:
    with pytest.raises(TrainError, match=re.escape(message)):
        load_recipe("porini", [change])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("seed=-1", "seed is -1; expected a whole number, 0 to 4294967295"),
        ("data.folds=1", "data.folds is 1; expected a whole number, at least 2"),
        ("input.size_px=0", "input.size_px is 0; expected a whole number, 8 to 4096"),
        ("input.crop_margin=-0.1", "input.crop_margin is -0.1; expected a number, at least 0"),
        ("network.parts=0", "network.parts is 0; expected a whole number, at least 1"),
        ("augment.flip=7", "augment.flip is 7; expected a number, 0 to 1"),
        ("augment.view_scale=[0.5]", "is [0.5]; expected a list of 2 numbers, the smaller one first, more than 0"),
        ("augment.view_scale=[2, 1]", "is [2, 1]; expected a list of 2 numbers, the smaller one first, more than 0"),
        ("augment.paste_side=[0.5, 2]", "the smaller one first, more than 0 and at most 1"),
        ("loss.label_smoothing=1", "is 1; expected a number, at least 0 and less than 1"),
        ("optimiser.lr=nan", "optimiser.lr is nan; expected a number, more than 0"),
        ("optimiser.lr=inf", "optimiser.lr is inf; expected a number, more than 0"),
    ],
)
def test_a_value_out_of_its_range_is_told_with_the_range(change: str, expected: str) -> None:
    with pytest.raises(TrainError, match=re.escape(expected)):
        load_recipe("porini", [change])


def numbers(kind: type) -> list[str]:
    """The settings that are numbers, of the section and those within it, and have no range."""
    found = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if isinstance(hint, type) and is_dataclass(hint):
            found += [f"{name}.{inner}" for inner in numbers(hint)]
        elif hint in (int, float) or hint in (int | None, float | None):
            found.append(name)
    return found


def test_every_number_has_a_range() -> None:
    assert numbers(Recipe) == ["network.blank"]  # by the labels, never set by hand


@pytest.mark.parametrize("file", sorted(ABLATIONS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_row_of_the_shipped_ablations_is_a_recipe(file: Path) -> None:
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    assert [load_recipe(table["recipe"], changes) for changes in table["rows"].values()]


def test_a_recipe_that_is_no_text_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes('about = "R\xfcppell"'.encode("latin-1"))
    with pytest.raises(TrainError, match="is not TOML"):
        load_recipe(str(tmp_path / "latin.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(TrainError, match="cannot be read"):
        load_recipe(str(tmp_path / "folder.toml"))


def test_an_unknown_recipe_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="porini"):
        load_recipe("zebra")


def test_the_recipe_to_begin_with_takes_class_folders_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in LABELS:
        for camera in range(6):
            folder = tmp_path / label / f"cam-{camera}"
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / "1.jpg"), draw_animal(label, rng, 64))
    recipe = load_recipe("species")
    prepared = prepare(tmp_path, "auto", recipe, False)
    assert prepared.label_names == tuple(sorted(LABELS))
    folds = choose_folds(prepared, recipe)
    assert len(folds) == 5
    for fold in folds:
        cameras = [{prepared.samples[place].location for place in part} for part in (fold.train, fold.test)]
        assert cameras[0].isdisjoint(cameras[1])
