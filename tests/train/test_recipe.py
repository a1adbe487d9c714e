import re
import tomllib
from pathlib import Path
from typing import get_type_hints

import cv2
import numpy as np
import pytest
from msgspec import Struct

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
        (
            "optimiser.epoch=2",
            "toml: optimiser: object contains unknown field `epoch`; expected one of name, lr,",
        ),
        ("optimizer.epochs=2", "porini.toml: object contains unknown field `optimizer`; expected one of name, about,"),
        ("optimiser.epochs=two", "porini.toml: optimiser.epochs: expected `int`, got `str`"),
        ("network.pooling=mean", "pooling: invalid enum value 'mean'; expected one of average, attention, parts"),
        ("optimiser=3", "porini.toml: optimiser: expected `object`, got `int`"),
        ("about.x=3", "'about.x'; about is a value"),
        ("optimiser.epochs.x=3", "epochs is a value"),
        ("optimiser.epochs", "expected section.key=value"),
        ("data.exclude=impala", "porini.toml: data.exclude: expected `array`, got `str`"),
        ("sources=[{name='x'}]", "porini.toml: sources[0]: object missing required field `role`"),
        ("sources=[{name='x',role='data',licence='MIT',atribution='y'}]", "unknown field `atribution`"),
    ],
)
def test_a_misspelt_setting_is_refused_in_one_line(change: str, message: str) -> None:
    with pytest.raises(TrainError, match=re.escape(message)) as caught:
        load_recipe("porini", [change])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("seed=-1", "seed: expected `int` >= 0"),
        ("seed=4294967296", "seed: expected `int` <= 4294967295"),
        ("data.folds=1", "data.folds: expected `int` >= 2"),
        ("input.size_px=0", "input.size_px: expected `int` >= 8"),
        ("input.crop_margin=-0.1", "input.crop_margin: expected `float` >= 0.0"),
        ("network.parts=0", "network.parts: expected `int` >= 1"),
        ("augment.flip=7", "augment.flip: expected `float` <= 1.0"),
        ("augment.view_scale=[0.5]", "augment.view_scale: expected `array` of length 2, got 1"),
        ("augment.view_scale=[2, 1]", "augment: view_scale is [2.0, 1.0]; give the smaller number first"),
        ("augment.paste_side=[0.5, 2]", "augment.paste_side[1]: expected `float` <= 1.0"),
        ("loss.label_smoothing=1", "loss.label_smoothing: expected `float` < 1.0"),
        ("optimiser.lr=nan", "optimiser.lr: expected `float` > 0.0"),
        ("optimiser.lr=inf", "optimiser.lr: expected `float` <= 1e+300"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_path(change: str, expected: str) -> None:
    with pytest.raises(TrainError, match=re.escape(expected)):
        load_recipe("porini", [change])


def numbers_without_range(kind: type) -> list[str]:
    """The settings of a section, and of the sections within it, that are numbers and have no range."""
    found = []
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if isinstance(hint, type) and issubclass(hint, Struct):
            found += [f"{name}.{inner}" for inner in numbers_without_range(hint)]
        elif hint in (int, float) or hint in (int | None, float | None):
            found.append(name)
    return found


def test_every_number_has_a_range() -> None:
    assert numbers_without_range(Recipe) == ["network.blank"]  # by the labels, never set by hand


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
