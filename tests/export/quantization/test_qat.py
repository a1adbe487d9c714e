"""Quantisation-aware fine-tuning rounds as the int8 graph does, improves it, and runs only where it is needed."""

from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from edge.inference.model import Model
from edge.inference.onnx_session import open_session
from edge.inference.probabilities import log_softmax
from export import ExportError
from export.__main__ import main
from export.graph import INPUT, float_graph
from export.model_card import card_of
from export.model_file import opened
from export.quantization import qat
from export.quantization.activation_ranges import Observed, with_outputs
from export.quantization.qat import Tuning, feature_map, finetune, unlabelled
from export.quantization.quantize import Plan, activation_ranges, body, observe_body, quantise
from tests.support.made_patches import LABELS, made_patches
from train.model.checkpoint import Checkpoint
from train.model.network import Network, normalised
from train.recipe import NetworkSpec


def images(seed: int, each: int) -> NDArray[np.uint8]:
    return made_patches(np.random.default_rng(seed), each)


@pytest.fixture(scope="module")
def calibration() -> NDArray[np.uint8]:
    return images(5, 12)


@pytest.fixture(scope="module")
def graph(checkpoint: Checkpoint) -> onnx.ModelProto:
    return float_graph(checkpoint)


@pytest.fixture(scope="module")
def observed(graph: onnx.ModelProto, calibration: NDArray[np.uint8]) -> dict[str, Observed]:
    return observe_body(graph, calibration)


def logs_of(model: onnx.ModelProto, checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with opened(model, card_of(checkpoint, "made")) as runnable:
        return log_softmax(runnable.run(pixels).logits)


def test_training_rounds_as_the_int8_graph_does(graph: onnx.ModelProto, observed: dict[str, Observed]) -> None:
    """Up to the first mean of four bytes: a quarter of such means are ties, which runtimes round differently."""
    plan, shown = Plan("minmax", correct_bias=False), images(6, 4)
    before = list(takewhile(lambda node: node.op_type != "AveragePool", body(graph)))
    deepest = [node.output[0] for node in before if node.op_type == "Relu"][-1]
    student = qat._Backbone(graph, deepest, activation_ranges(observed, plan))
    with torch.no_grad():
        trained = student(normalised(torch.from_numpy(np.ascontiguousarray(shown.transpose(0, 3, 1, 2))))).numpy()
    int8, float_ = (
        open_session(with_outputs(model, [name]).SerializeToString()).run(None, {INPUT: shown})[0]
        for model, name in (
            (quantise(graph, observed, plan), f"{deepest}_DequantizeLinear_Output"),
            (graph, deepest),
        )
    )
    assert len(before) > 6
    assert np.abs(trained - int8).mean() < 0.2 * np.abs(float_ - int8).mean()


def test_fine_tuning_brings_a_coarse_int8_model_closer_to_the_float_one(
    graph: onnx.ModelProto, observed: dict[str, Observed], calibration: NDArray[np.uint8], checkpoint: Checkpoint
) -> None:
    plan, unseen = Plan("percentile", percentile=90.0, correct_bias=False), images(7, 20)
    wanted = logs_of(graph, checkpoint, unseen)

    def divergence(model: onnx.ModelProto) -> float:
        logs = logs_of(quantise(model, observed, plan), checkpoint, unseen)
        return float((np.exp(wanted) * (wanted - logs)).sum(axis=1).mean())

    tuning = Tuning(checkpoint.build_network(), [], 30)
    tuned = finetune(graph, activation_ranges(observed, plan), calibration, tuning, lambda line: None)
    assert divergence(tuned) < divergence(graph) / 2
    again = finetune(graph, activation_ranges(observed, plan), calibration, tuning, lambda line: None)
    assert again.SerializeToString(deterministic=True) == tuned.SerializeToString(deterministic=True)


def test_the_command_fine_tunes_only_what_misses_the_gate(
    checkpoint_file: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["model", str(checkpoint_file), "--calibrate", str(frames), "--finetune", str(frames), "--steps", "20"]
    assert main([*usual, "--out", str(tmp_path / "good.onnx")]) == 0
    gate = Model(tmp_path / "good.onnx").card.gate
    assert gate is not None
    assert gate.finetune_steps == 0  # it passed without
    capsys.readouterr()
    coarse = ["--ranges", "percentile", "--percentile", "94", "--limits", "decision_agreement=0.9", "label_images=100"]
    assert main([*usual, *coarse, "--out", str(tmp_path / "coarse.onnx")]) == 0
    assert "all layers in int8, fine-tuned: passed" in capsys.readouterr().err
    gate = Model(tmp_path / "coarse.onnx").card.gate
    assert gate is not None
    assert gate.finetune_steps == 20


def test_what_cannot_be_fine_tuned_is_refused_before_any_work(
    frames: Path, checkpoint_file: Path, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "model.onnx")
    usual = ["model", str(checkpoint_file), "--calibrate", str(frames), "--out", out]
    assert main([*usual, "--finetune", str(tmp_path / "empty")]) == 2
    assert "holds no image" in capsys.readouterr().err.splitlines()[-1]
    squeezing = replace(checkpoint, network=NetworkSpec("test_efficientnet", blank=2))
    squeezing = replace(squeezing, state=Network(squeezing.network, len(LABELS)).state_dict())
    with pytest.raises(ExportError, match="test_efficientnet cannot be fine-tuned: it holds other operators"):
        feature_map(float_graph(squeezing), squeezing.build_network())


def test_frames_to_learn_from_need_no_labels(frames: Path) -> None:
    found = unlabelled([frames])
    assert len(found) == 48
    assert {frame.label for frame in found} == {-1}
