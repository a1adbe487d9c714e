"""`python -m export model`: it writes a proven model, refuses a damaged one, and leaves no incomplete file."""

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from edge import Classifier
from edge.host.output_file import OutputError
from edge.inference.card import METADATA_KEY, Calibration, Card, CardError, Label
from edge.inference.frame_classification import calibrated
from edge.inference.model import Model
from edge.inference.onnx_session import open_session
from edge.inference.probabilities import log_softmax
from edge.inference.prototypes import Prototypes
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind
from export import ExportError
from export.__main__ import main
from export.graph import float_graph
from export.model_card import card_of
from export.model_file import opened, write
from export.pipeline import Result, Task, export_int8
from export.quantization.quantize import Plan, observe_body, quantise
from export.validation.calibrate import Prior
from export.validation.gate import DEFAULT_LIMITS
from export.validation.labelled_frames import read_labelled_frames
from tests.support.made_patches import LABELS, made_patches
from tests.support.requirements import mounted, needs_root
from train.enrolment import enrol
from train.evaluation.predictions import prototypes
from train.model.checkpoint import Checkpoint


def run(checkpoint: Path, frames: Path, out: Path, *more: str) -> int:
    return main(["model", str(checkpoint), "--calibrate", str(frames), "--out", str(out), *more])


def prove(checkpoint: Checkpoint, frames: Path, plan: Plan) -> Result:
    card = card_of(checkpoint, "made")
    labelled = read_labelled_frames(frames, checkpoint.labels)
    task = Task(float_graph(checkpoint), card, Prior({}, ()), labelled, None, "made images", 0.5, DEFAULT_LIMITS)
    return export_int8(task, plan, lambda line: None)


@pytest.fixture(scope="module")
def exported(checkpoint_file: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "made.onnx"
    assert run(checkpoint_file, frames, out) == 0
    return out


def test_the_file_is_a_model_with_its_proof(exported: Path, frames: Path) -> None:
    model = Model(exported)  # checks the .sha256 as well
    gate = model.card.gate
    assert gate is not None
    assert gate.figures["accuracy_float"] > 0.9
    assert gate.figures["accuracy_int8"] >= gate.figures["accuracy_float"] - DEFAULT_LIMITS["accuracy_drop"]
    assert {proof.label for proof in gate.labels} == {"zebra", "lion", "blank"}
    assert gate.limits == DEFAULT_LIMITS
    assert exported.with_name("made.onnx.sha256").read_text() == f"{model.sha256}  made.onnx\n"
    graph = onnx.load(exported).graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    read = next(node for node in graph.node if first.input[0] in node.output)
    assert (read.op_type, read.input[0]) == ("DequantizeLinear", "planes")  # the image's own bytes, not rounded again
    weights = {i.name: i.data_type for i in graph.initializer if len(i.dims) == 4}
    assert weights
    assert set(weights.values()) == {onnx.TensorProto.INT8}


def test_biases_carry_no_zero_points(checkpoint: Checkpoint) -> None:
    state = {name: value + 0.1 if name.endswith("bn1.bias") else value for name, value in checkpoint.state.items()}
    images = made_patches(np.random.default_rng(2), 2)
    model = float_graph(replace(checkpoint, state=state))
    graph = quantise(model, observe_body(model, images), Plan()).graph
    biases = {i.name for i in graph.initializer if i.data_type == onnx.TensorProto.INT32 and i.dims}
    readers = [node for node in graph.node if biases & set(node.input)]
    assert readers
    assert {len(node.input) for node in readers} == {2}  # they would be as many zeros as there are channels


def test_the_same_checkpoint_and_data_give_the_same_bytes(
    exported: Path, checkpoint_file: Path, frames: Path, tmp_path: Path
) -> None:
    assert run(checkpoint_file, frames, tmp_path / "made.onnx") == 0
    assert (tmp_path / "made.onnx").read_bytes() == exported.read_bytes()


def test_clipped_calibration_is_refused_with_the_table(checkpoint: Checkpoint, frames: Path) -> None:
    with pytest.raises(ExportError, match=r"refused: .*\n.*gate on") as caught:
        prove(checkpoint, frames, Plan("percentile", percentile=55.0, correct_bias=False))
    assert "decision_agreement" in str(caught.value)


def test_one_sensitive_layer_stays_in_float_and_is_named(checkpoint: Checkpoint, frames: Path) -> None:
    # A huge weight on an input that is always zero changes nothing in float, and in int8 rounds the other weights away.
    state = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    block = "backbone.model.layer2.0"
    state[f"{block}.bn1.weight"][0], state[f"{block}.bn1.bias"][0] = 0.0, -60.0
    state[f"{block}.conv2.weight"][:, 0] = 1e4
    damaged = replace(checkpoint, state=state)
    result = prove(damaged, frames, Plan())
    assert f"{block}.conv2" in result.gate.float_nodes
    assert len(result.gate.float_nodes) <= 4
    assert result.gate.figures["top1_agreement"] > 0.9  # the runtime truly computes the layer in float


def test_a_full_disk_leaves_the_old_model(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made.onnx").write_bytes(b"the old model")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write(tmp_path / "made.onnx", exported.read_bytes())
    assert [path.name for path in tmp_path.iterdir()] == ["made.onnx"]
    assert (tmp_path / "made.onnx").read_bytes() == b"the old model"


@needs_root
def test_a_small_or_locked_disk_is_one_line_and_leaves_nothing(
    checkpoint_file: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as folder:
        assert run(checkpoint_file, frames, folder / "made.onnx") == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith(f"export: {folder / 'made.onnx'} was not written: No space left on device; ")
        assert list(folder.iterdir()) == []
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        assert run(checkpoint_file, frames, folder / "made.onnx") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()  # at once, before an hour of work
        assert "cannot be written (Read-only file system)" in line


def test_bad_input_is_one_line_and_no_file(
    checkpoint: Checkpoint, checkpoint_file: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, broken, strange = tmp_path / "empty", tmp_path / "broken", tmp_path / "strange"
    for folder in (empty, broken, strange):
        folder.mkdir()
    (broken / "manifest.csv").write_text("path,label,event\na.jpg,zebra,1\nb.jpg,lion,2\n")
    (broken / "a.jpg").write_bytes(b"\xff\xd8\xff half")
    (broken / "b.jpg").write_bytes(b"\xff\xd8\xff half")
    (strange / "manifest.csv").write_text("path,label\na.jpg,teapot\n")
    (strange / "a.jpg").write_bytes(b"x")
    out = tmp_path / "out" / "model.onnx"
    cases = [
        (tmp_path / "none.pt", frames, out, (), "does not exist"),
        (checkpoint_file, tmp_path / "nowhere", out, (), "does not exist"),
        (checkpoint_file, empty, out, (), "holds no labelled image"),
        (checkpoint_file, broken, out, (), "cannot be read"),
        (checkpoint_file, strange, out, (), "label"),
        (checkpoint_file, frames, tmp_path, (), "is a folder"),
        (checkpoint_file, frames, Path("/proc/model.onnx"), (), "cannot be written"),
        (checkpoint_file, frames, out, ("--limits", "drop=much"), "limit 'drop=much' is not understood"),
    ]
    for pt, data, target, more, expected in cases:
        assert run(pt, data, target, *more) == 2, expected
        error = capsys.readouterr().err.strip().splitlines()
        assert expected in error[-1]
        assert error[-1].startswith("export: ")
        assert not out.exists()


def test_weights_of_another_label_table_are_refused(
    checkpoint: Checkpoint, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(checkpoint, labels=checkpoint.labels[:2]).save(tmp_path / "short.pt")
    assert run(tmp_path / "short.pt", frames, tmp_path / "model.onnx") == 2
    assert "not those of its network" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["weights", "fp16", "dynamic"])
def test_other_precisions_keep_the_contract(precision: str, checkpoint: Checkpoint) -> None:
    card = card_of(checkpoint, "made")
    smaller = quantise(float_graph(checkpoint), {}, Plan(precision=precision))  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with opened(smaller, card) as model:
        outputs = model.run(pixels)
    with torch.no_grad():
        expected = checkpoint.build_network()(
            torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        )
    assert outputs.logits.dtype == np.float32
    similarity = np.corrcoef(outputs.logits.ravel(), expected.logits.numpy().ravel())[0, 1]
    assert similarity > 0.9


def test_the_file_names_no_folder_of_the_machine_that_made_it(exported: Path) -> None:
    content = exported.read_bytes()
    assert str(Path.home()).encode() not in content or str(Path.home()) == "/"
    assert str(Path(__file__).parents[3]).encode() not in content
    document = json.loads({p.key: p.value for p in onnx.load(exported).metadata_props}[METADATA_KEY])
    assert document["created"] == "2026-01-01T00:00:00Z"
    assert hashlib.sha256(content).hexdigest() == Model(exported).sha256


def test_an_enrolled_species_is_recognised_beside_the_trained_ones(
    checkpoint: Checkpoint, frames: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(8)

    def striped(count: int) -> NDArray[np.uint8]:
        """Images that show none of the labels: wide red and white bars."""
        bars = (np.arange(64) // 16 % 2)[None, :, None] * np.array([30, 200, 200]) + np.array([200, 20, 20])
        noisy = bars + random.normal(0, 20, (count, 64, 64, 3))
        made: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
        return made

    def embedding(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            planes = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
            found: NDArray[np.float32] = checkpoint.build_network()(planes).embedding.numpy()
        return found

    trained = [label.name for label in checkpoint.labels]
    shown = made_patches(random, 12)
    truth = np.repeat(np.arange(3), 12)
    known = embedding(shown)
    new = embedding(striped(5))
    made = enrol(tuple(trained), prototypes(known, truth, 3), known, truth, ("okapi",), new, np.zeros(5, np.int64))
    okapi = Label("okapi", Kind.ANIMAL, "okapi", Taxon("Okapia johnstoni", "species", "okapi", family="Giraffidae"))
    vectors = {name: tuple(map(float, row)) for name, row in zip(made.labels, made.prototypes, strict=True)}
    taught = replace(checkpoint, prototypes=vectors, enrolled=(okapi,), prototype_scale=made.scale)
    taught.save(tmp_path / "taught.pt")
    assert run(tmp_path / "taught.pt", frames, tmp_path / "taught.onnx") == 0
    model = Model(tmp_path / "taught.onnx")
    assert model.card.enrolled == ("okapi",)
    assert model.card.gate is not None
    assert {proof.label for proof in model.card.gate.labels} == set(trained)
    names = [label.name for label in model.card.labels]
    probabilities = np.exp(calibrated(model, model.run(striped(20)).logits))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)
    assert [names[place] for place in probabilities.argmax(axis=1)].count("okapi") >= 18
    usual = model.run(made_patches(random, 20)).logits
    right = np.exp(calibrated(model, usual)).argmax(axis=1) == np.repeat(np.arange(3), 20)
    assert right.mean() > 0.9
    # The trained labels keep their proportions: the network's outputs for them are not changed.
    alone = log_softmax((usual + model.label_bias)[:, :3], model.card.calibration.temperature)
    together = calibrated(model, usual)[:, :3]
    np.testing.assert_allclose(together - together[:, :1], alone - alone[:, :1], atol=1e-3)
    assert Classifier(tmp_path / "taught.onnx").card.labels[-1] == okapi


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prototype_scale": 0.0}, "has no prototype"),
        ({"prototypes": {}}, "has no prototype"),
        ({"enrolled": ("zebra",)}, "are not the last labels"),
    ],
)
def test_a_card_whose_prototypes_do_not_hold_together_is_refused(change: dict[str, Any], expected: str) -> None:
    vectors: dict[str, tuple[float, ...]] = {label.name: (1.0, 0.0) for label in LABELS}
    card = Card("made", "1", "", LABELS, 64, 64, Calibration(1.0, {"species": 0.5}))
    card = replace(card, enrolled=(LABELS[-1].name,), prototypes=vectors, prototype_scale=10.0)
    assert Prototypes(card).outputs == 2
    with pytest.raises(CardError, match=expected):
        Prototypes(replace(card, **change))


def test_a_network_that_standardises_its_images_is_quantised_after_that_step(checkpoint: Checkpoint) -> None:
    standardising = replace(checkpoint, network=msgspec.structs.replace(checkpoint.network, standardise=True))
    model = float_graph(standardising)
    pixels = made_patches(np.random.default_rng(0), 4) // 3
    with torch.no_grad():
        planes = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        expected = standardising.build_network()(planes).logits.numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["logits"], {"pixels": pixels})[0], expected, atol=1e-4)
    quantised = quantise(model, observe_body(model, pixels), Plan())
    session = open_session(quantised.SerializeToString())  # as the device does: some processors' int8 sums overflow
    found = session.run(["logits"], {"pixels": pixels})[0]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    graph = quantised.graph
    stem = next(node for node in graph.node if node.op_type == "Conv")
    rounded = next(node for node in graph.node if stem.input[0] in node.output)
    assert rounded.op_type == "DequantizeLinear"
    assert next(n for n in graph.node if rounded.input[0] in n.output).op_type == "QuantizeLinear"  # and nothing before
    assert sum(node.op_type == "Sqrt" for node in graph.node) >= 1
