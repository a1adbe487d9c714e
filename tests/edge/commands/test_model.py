"""What edge-model prints of a model's card, and what it finds in a damaged file."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge.commands.model import main, page
from edge.inference.card import Gate, LabelProof
from edge.inference.model import STARTER, Model


def test_the_page_says_what_is_known_proven_paid_and_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    titles = ["What it knows", "How that was proven", "What int8 costs", "Limits", "Where it comes from"]
    assert [line for line in said.splitlines() if line in titles] == titles
    assert "mammal (Mammalia)" in said
    assert "a decision on " in said
    assert "- It does not know people." in said
    assert "answers_class" not in said, "no raw keys"
    assert "temperature" not in said


def test_everything_else_is_behind_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--all"]) == 0
    said = capsys.readouterr().out
    card = Model(STARTER).card
    assert all(f"\n{label.name} " in said for label in card.labels)
    assert "\nthresholds    blank " in said
    assert "decision_agreement" in said


def test_figures_of_a_training_and_of_a_gate_are_words() -> None:
    accuracy = {"value": 0.9, "low": 0.85, "high": 0.94}
    card = replace(
        Model(STARTER).card,
        metrics={
            "cross_validation": {
                "figures": {"images": 200, "sequences": 80, "accuracy": accuracy, "macro_f1": accuracy},
                "retrieval": None,
            }
        },
        gate=Gate(
            "field", 10, {"decision_agreement": 0.99}, {}, (LabelProof("a", 5, 1.0, 1.0, 0.6, 1.0, 1.0, "passed"),)
        ),
    )
    lines = list(page(card, "abc", 1))
    assert "cross validation: 200 images, 80 sequences" in lines
    assert "  accuracy  90% (95% interval 85% to 94%)" in lines
    assert "  the same decision on 99.0% of them" in lines
    assert "  of its labels 1 passed, 0 failed and 0 had too few images for a proof" in lines
    assert "Nothing was measured." in list(page(replace(card, metrics={}), "abc", 1))


def test_verify_compares_the_file_with_its_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.onnx"
    shutil.copyfile(STARTER, model)
    assert main(["verify", str(model)]) == 0
    assert "no model.onnx.sha256 beside it" in capsys.readouterr().out
    (tmp_path / "model.onnx.sha256").write_text(f"{'0' * 64}  model.onnx\n")
    assert main(["verify", str(model)]) == 1
    assert main(["info", str(model)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
