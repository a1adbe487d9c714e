import json
from dataclasses import replace

import pytest

from edge.inference.card import Calibration, Card, CardError, Gate, Label, LabelProof, Rejection, SecondCrop, Source
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind

FOX = Taxon("Vulpes vulpes", "species", "red fox", "Mammalia", "Carnivora", "Canidae", "Vulpes", "Vulpes vulpes")
PROOF = LabelProof("fox", 20, 1.0, 1.0, 0.8, 1.0, 1.0, "passed")
CARD = Card(
    name="test",
    version="1.2",
    created="2026-01-01T00:00:00Z",
    labels=(Label("fox", Kind.ANIMAL, "red fox", FOX), Label("blank", Kind.BLANK, "blank")),
    input_height_px=224,
    input_width_px=224,
    calibration=Calibration(
        1.3,
        {"class": 0.6, "species": 0.8, "blank": 0.5},
        label_thresholds={"fox": 0.9},
        label_bias={"fox": -1.5},
        second_look=SecondCrop(0.5, 0.8, 0.1),
        rejection=Rejection("energy", 3.2),
        fitted_on="frames of the field",
    ),
    higher_taxa=(Taxon("Canidae", "family", "dog family"),),
    gate=Gate("held-out", 40, {"agreement": 0.99}, {"drop": 0.5}, (PROOF,)),
    metrics={"field": {"accuracy": 0.5}},
    sources=(Source("ImageNet", "weights", "Apache-2.0"),),
    prototypes={"lynx": (0.6, 0.8)},
    notes=("sees no owls",),
)

CALIBRATION = {"temperature": 1.0, "thresholds": {}}


def test_a_card_comes_back_from_its_json() -> None:
    assert Card.from_json(CARD.to_json()) == CARD


def test_the_same_card_gives_the_same_text() -> None:
    assert CARD.to_json() == Card.from_json(CARD.to_json()).to_json()


def test_the_document_uses_the_names_of_the_standards() -> None:
    taxon = json.loads(CARD.to_json())["labels"][0]["taxon"]
    assert taxon["scientificName"] == "Vulpes vulpes"
    assert taxon["class"] == "Mammalia"


def test_a_key_of_a_later_addition_is_passed_over() -> None:
    document = json.loads(CARD.to_json()) | {"weather": "fine"}
    assert Card.from_json(json.dumps(document)) == CARD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"card_version": 2}, "version 2"),
        ({"fit": "stretch"}, "stretch"),
        (
            {
                "calibration": {
                    "temperature": 1.0,
                    "thresholds": {},
                    "rejection": {"score": "nearest_prototype", "threshold": 0},
                }
            },
            r"'nearest_prototype' - at .\$.calibration.rejection.score",
        ),
        ({"labels": [{"name": "fox", "kind": "animal", "common_name": "fox", "taxon": None}]}, "has a taxon"),
    ],
)
def test_a_document_that_does_not_hold_together_is_refused_in_one_line(change: dict[str, object], words: str) -> None:
    document = json.loads(CARD.to_json()) | change
    with pytest.raises(CardError, match=words) as caught:
        Card.from_json(json.dumps(document))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"card_version": 1}'])
def test_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(CardError):
        Card.from_json(text)


def test_labels_need_names_of_their_own_and_temperatures_are_positive() -> None:
    with pytest.raises(CardError, match="share a name"):
        replace(CARD, labels=(CARD.labels[0], CARD.labels[0]))
    with pytest.raises(CardError, match="temperature"):
        replace(CARD, calibration=Calibration(0.0, {}))
