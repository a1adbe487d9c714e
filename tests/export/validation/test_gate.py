"""The gate's statistics, on counts small enough to check by hand, and the scoring of decisions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.inference.card import Calibration, Card, Gate, Label
from edge.inference.decision import Decision
from edge.inference.taxonomy import Taxon, TaxonKey
from edge.vocabulary import DecisionReason, Kind
from export import ExportError
from export.pipeline import Task, prove
from export.validation.calibrate import Prior
from export.validation.gate import (
    DEFAULT_LIMITS,
    ModelDecisions,
    drop_interval,
    failures,
    measure,
    parse_limits,
)
from export.validation.labelled_frames import LabelledFrame
from export.validation.model_outputs import ModelOutputs
from export.validation.score_decision import score_taxon

LABELS = tuple(
    Label(name, Kind.ANIMAL, name, Taxon(name, "species", name, genus=name.split()[0], species=name))
    for name in ("Vulpes vulpes", "Meles meles")
)
CARD = Card("made", "1", "", LABELS, 32, 32, Calibration(1.0, {"species": 0.5}))


def decisions(labels: list[int]) -> ModelDecisions:
    logs = np.log(np.where(np.eye(2)[labels] > 0, 0.9, 0.1)).astype(np.float32)
    each = [Decision(Kind.ANIMAL, LABELS[n].name, "species", "", 0.9, DecisionReason.CONFIDENT) for n in labels]
    return ModelDecisions(logs, each, np.zeros(len(labels), np.float32))


def gate_of(float_: list[int], int8: list[int]) -> Gate:
    """The gate of two models on 40 foxes and 10 badgers."""
    return measure(CARD, frames(40, 10), decisions(float_), decisions(int8), "made", DEFAULT_LIMITS)


def frames(foxes: int, badgers: int) -> list[LabelledFrame]:
    return [
        LabelledFrame(Path(str(n)), str(n), Kind.ANIMAL, tuple(LABELS[label].taxon.lineage()), label, str(n))  # type: ignore[union-attr]
        for n, label in enumerate([0] * foxes + [1] * badgers)
    ]


def test_a_label_that_loses_much_fails_and_a_rare_one_is_unproven() -> None:
    truth = [0] * 40 + [1] * 10
    lost = [1] * 20 + [0] * 20 + [0] * 5 + [1] * 5
    gate = gate_of(truth, lost)
    fox, badger = gate.labels
    assert (fox.images, fox.recall_float, fox.recall_int8, fox.verdict) == (40, 1.0, 0.5, "failed")
    assert (badger.images, badger.recall_int8, badger.verdict) == (10, 0.5, "unproven")
    assert fox.p_value == pytest.approx(2 * 0.5**20)  # McNemar, exact: twenty changes, all for the worse
    assert any("Vulpes vulpes" in reason for reason in failures(gate))


def test_one_changed_frame_in_fifty_is_no_reason_to_refuse() -> None:
    truth = [0] * 40 + [1] * 10
    changed = [1, *truth[1:]]
    assert failures(gate_of(truth, changed)) == []


def test_decisions_that_change_are_a_reason() -> None:
    truth = [0] * 40 + [1] * 10
    changed = [1, 1, 0, 0, *truth[4:]]
    reasons = failures(gate_of(truth, changed))
    assert any("96.0% of held-out frames" in reason for reason in reasons)


def test_the_gate_judges_by_its_own_frames_whatever_they_are_called() -> None:
    """Images in folders of classes often share their names, so names do not tell the gate's frames from others."""
    same_name = [replace(frame, name="0001.jpg") for frame in frames(4, 4)]
    sure = np.where(np.eye(2)[[frame.label for frame in same_name]] > 0, 4.0, 0.0).astype(np.float32)
    outputs = ModelOutputs(sure, None, ())
    task = Task(onnx.ModelProto(), CARD, Prior({}, ()), same_name, None, "made", 0.5, DEFAULT_LIMITS)
    gate = prove(task, CARD.calibration, (outputs, outputs), same_name[3:7])
    assert gate.images == 4
    assert {(label.label, label.images) for label in gate.labels} == {("Vulpes vulpes", 1), ("Meles meles", 3)}


def test_the_interval_of_a_drop_holds_the_drop() -> None:
    before, after = np.array([True] * 90 + [False] * 10), np.array([True] * 80 + [False] * 20)
    low, high = drop_interval(before, after)
    assert 0.03 < low < 0.1 < high < 0.17


def test_limits_are_read_over_the_defaults() -> None:
    assert parse_limits(["label_drop=0.05"]) == DEFAULT_LIMITS | {"label_drop": 0.05}
    with pytest.raises(ExportError, match="is not understood"):
        parse_limits(["label_drop=nan"])


@pytest.mark.parametrize(
    ("lineage", "truth", "expected"),
    [
        (
            [("kingdom", "Animalia"), ("class", "Aves")],
            [("kingdom", "Animalia"), ("class", "Aves"), ("order", "Strigiformes")],
            "right",
        ),
        (
            [("kingdom", "Animalia"), ("class", "Aves"), ("order", "Strigiformes")],
            [("kingdom", "Animalia"), ("class", "Aves")],
            "open",
        ),
        ([("kingdom", "Animalia"), ("class", "Mammalia")], [("kingdom", "Animalia"), ("class", "Aves")], "wrong"),
        (
            [("kingdom", "Animalia"), ("class", "Mammalia"), ("order", "Rodentia")],
            [("kingdom", "Animalia"), ("class", "Aves")],
            "wrong",
        ),
        ([("kingdom", "Animalia")], [], "wrong"),
    ],
)
def test_a_taxon_is_right_wrong_or_open(lineage: list[TaxonKey], truth: list[TaxonKey], expected: str) -> None:
    assert score_taxon(lineage, truth) == expected
