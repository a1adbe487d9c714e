from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.made_animals import LABELS, draw_animal
from train import TrainError
from train.prepare import choose_folds, prepare
from train.recipe import RECIPES, load_recipe, recipe_from_document


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
        ("optimiser.epoch=2", "no setting 'epoch'"),
        ("optimiser.epochs=two", "expected int"),
        ("network.pooling=mean", "expected one of average, attention, parts"),
        ("optimiser=3", "expected a section"),
    ],
)
def test_a_misspelt_setting_never_passes_as_a_default(change: str, message: str) -> None:
    with pytest.raises(TrainError, match=message):
        load_recipe("porini", [change])


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
