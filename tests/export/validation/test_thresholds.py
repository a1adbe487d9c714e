"""Thresholds: decisions above them are right often enough, and few depend on how a frame was rendered."""

from pathlib import Path

import numpy as np
import pytest

from edge.inference.card import Label
from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import Taxon, Tree
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame
from export.validation.thresholds import SEARCH, UNPROVEN_THRESHOLD, fit_thresholds

LABELS = (
    *(
        Label(name, Kind.ANIMAL, name, Taxon(name, "species", name, genus=name.split()[0], species=name))
        for name in ("Vulpes vulpes", "Meles meles")
    ),
    Label("blank", Kind.BLANK, "blank"),
)
TREE = Tree([label.taxon for label in LABELS])
BLANK = np.array([False, False, True])


def frames(foxes: int, badgers: int = 0, blanks: int = 0) -> list[LabelledFrame]:
    truths = [0] * foxes + [1] * badgers + [2] * blanks
    lineages = [() if (taxon := LABELS[truth].taxon) is None else tuple(taxon.lineage()) for truth in truths]
    return [
        LabelledFrame(Path(str(n)), str(n), LABELS[truth].kind, lineage, truth, str(n))
        for n, (truth, lineage) in enumerate(zip(truths, lineages, strict=True))
    ]


def fox_probabilities(*confidence: float) -> FloatArray:
    """Log-probabilities of frames that are a fox with these probabilities and a blank otherwise."""
    p = np.array([[value, 1e-6, 1.0 - value] for value in confidence])
    return np.asarray(np.log(p), np.float32)


def test_a_threshold_stands_where_no_rendering_changes_a_decision() -> None:
    own = [0.95] * 9 + [0.56, 0.57]
    other = [0.95] * 9 + [0.53, 0.60]
    alone = fit_thresholds(TREE, [fox_probabilities(*own)], frames(11), BLANK)["species"]
    both = fit_thresholds(TREE, [fox_probabilities(*own), fox_probabilities(*other)], frames(11), BLANK)["species"]
    assert alone <= both <= 0.56 + SEARCH
    assert not any(min(pair) < both <= max(pair) for pair in zip(own, other, strict=True))


def test_a_threshold_moves_only_to_where_decisions_are_right_often_enough() -> None:
    """Above 0.60 all decisions are wrong."""
    own = [0.55] * 30 + [0.65] * 3
    moved = [0.60] * 30 + [0.65] * 3
    truth = frames(foxes=30, badgers=3)
    threshold = fit_thresholds(TREE, [fox_probabilities(*own), fox_probabilities(*moved)], truth, BLANK)["species"]
    assert threshold <= 0.5501


def test_frames_decided_at_a_more_specific_rank_move_no_other_threshold() -> None:
    """The species decides all frames. The genus' threshold changes nothing and stays at the least allowed place."""
    own, other = [0.70] * 12, [0.76] * 12
    found = fit_thresholds(TREE, [fox_probabilities(*own), fox_probabilities(*other)], frames(12), BLANK)
    assert found["species"] <= 0.70
    assert found["genus"] <= 0.70


def test_a_label_that_is_never_decided_proves_no_threshold() -> None:
    sure = fox_probabilities(*[0.75] * 12)
    assert fit_thresholds(TREE, [sure], frames(12), BLANK)["species"] < UNPROVEN_THRESHOLD
    assert fit_thresholds(TREE, [sure], frames(12), BLANK, never=[0])["species"] == UNPROVEN_THRESHOLD


@pytest.mark.parametrize("right", [0, 7])
def test_too_few_right_decisions_prove_nothing(right: int) -> None:
    found = fit_thresholds(TREE, [fox_probabilities(*[0.95] * 20)], frames(right, badgers=20 - right), BLANK)
    assert found["species"] == UNPROVEN_THRESHOLD
