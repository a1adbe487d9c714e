from pathlib import Path

import pytest

from train import TrainError
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
