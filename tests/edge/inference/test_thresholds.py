"""Thresholds that a user sets: a name that the model does not know is refused with the nearest names."""

from pathlib import Path

import pytest

import edge
from edge.inference.card import Label
from edge.inference.taxonomy import Taxon
from edge.inference.thresholds import check_thresholds
from edge.service.model_reload import load_models
from edge.settings.options import Settings
from edge.settings.strict_toml import SettingsError
from edge.vocabulary import Kind

LABELS = (
    Label("red_fox", Kind.ANIMAL, "red fox", Taxon("Vulpes vulpes", "species", "red fox")),
    Label("empty", Kind.BLANK, Kind.BLANK),
)


def test_ranks_kinds_labels_and_the_detector_have_thresholds() -> None:
    check_thresholds({"species": 0.8, "kingdom": 0.1, "human": 0, "blank": 1, "detection": 0.2, "red_fox": 0.9}, LABELS)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("speceis", 0.5, "did you mean species?"),
        ("Red_Fox", 0.5, "did you mean red_fox?"),
        ("xyzzy", 0.5, "expected one of kingdom, phylum"),
        ("empty", 0.5, "this label is of the kind blank: set blank"),
        ("species", 80, "thresholds: species is 80: expected a number from 0 to 1"),
        ("species", float("nan"), "thresholds: species is nan"),
    ],
)
def test_an_unknown_name_or_value_is_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        check_thresholds({name: value}, LABELS)
    assert said in str(refused.value)


def test_python_and_the_command_refuse_alike(tiny_model: Path) -> None:
    with pytest.raises(SettingsError) as in_python:
        edge.Classifier(tiny_model, thresholds={"speceis": 0.5})
    with pytest.raises(SettingsError) as in_the_command:
        load_models(Settings(model=tiny_model, thresholds={"speceis": 0.5}))
    assert str(in_python.value) == str(in_the_command.value)
