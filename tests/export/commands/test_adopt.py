"""`python -m export adopt`: our input before the model's own, its outputs renamed, detectors of every layout."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.image.decode import DecodedFrame
from edge.image.exif import Exif
from edge.image.resize import resize_to_input
from edge.inference.card import Boxes
from edge.inference.detector import Detector, decode
from edge.inference.model import Model, ModelError
from export.__main__ import main
from train.model.checkpoint import Checkpoint

SIDE_PX = 64
LABELS = "label,kind,common_name,scientificName,rank\nred_fox,animal,red fox,Vulpes vulpes,species\nblank,blank,,,\n"
DETECTOR_LABELS = "label,kind\nanimal,animal\nperson,human\nvehicle,vehicle\n"
ROWS = 50


def foreign(
    path: Path,
    shape: list[int | str],
    nodes: list[onnx.NodeProto],
    constants: dict[str, NDArray[np.generic]],
    output: str,
    rank: int,
) -> Path:
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *"abc"[: rank - 1]])]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def classifier(path: Path, layout: str, softmax: bool) -> Path:
    random = np.random.default_rng(0)
    shape: list[int | str] = ["N", 3, SIDE_PX, SIDE_PX] if layout == "nchw" else ["N", SIDE_PX, SIDE_PX, 3]
    nodes = [
        helper.make_node("Conv", ["planes", "filters"], ["maps"], strides=[8, 8]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    if layout == "nhwc":
        nodes.insert(0, helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]))
    else:
        nodes[0].input[0] = "images"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["p"], axis=1))
    constants: dict[str, NDArray[np.generic]] = {
        "filters": random.normal(0, 0.2, (8, 3, 8, 8)).astype(np.float32),
        "weights": random.normal(0, 2, (8, 2)).astype(np.float32),
    }
    return foreign(path, shape, nodes, constants, "p" if softmax else "scores", 2)


def detector(path: Path, layout: str) -> Path:
    """Boxes that depend on the image, in exactly the layout's shape and ranges."""
    random = np.random.default_rng(1)
    columns = {"yolov5": 8, "yolov9": 7, "yolov10": 6, "rtdetr": 7}[layout]
    place, size = (1.0, 1.0) if layout == "rtdetr" else (float(SIDE_PX), float(SIDE_PX))
    gain = np.ones(columns, np.float32)
    gain[:4] = [place, place, size / 2, size / 2]
    constants: dict[str, NDArray[np.generic]] = {
        "filters": random.normal(0, 0.1, (16, 3, 16, 16)).astype(np.float32),
        "weights": random.normal(0, 0.4, (16, ROWS * columns)).astype(np.float32),
        "shape": np.array([-1, ROWS, columns], np.int64),
        "gain": gain,
    }
    nodes = [
        helper.make_node("Conv", ["images", "filters"], ["maps"], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["mixed"]),
        helper.make_node("Reshape", ["mixed", "shape"], ["table"]),
        helper.make_node("Sigmoid", ["table"], ["unit"]),
        helper.make_node("Mul", ["unit", "gain"], ["boxes"]),
    ]
    last = "boxes"
    if layout == "yolov9":
        nodes.append(helper.make_node("Transpose", ["boxes"], ["output0"], perm=[0, 2, 1]))
        last = "output0"
    if layout == "yolov10":  # corners in order and a whole number for the label
        constants |= {
            "corner": np.array([0, 0, SIDE_PX / 2, SIDE_PX / 2, 0, 0], np.float32),
            "three": np.array([1, 1, 1, 1, 1, 2.999], np.float32),
        }
        constants |= {
            "keep": np.array([1, 1, 1, 1, 1, 0], np.float32),
            "label": np.array([0, 0, 0, 0, 0, 1], np.float32),
        }
        nodes += [
            helper.make_node("Add", ["boxes", "corner"], ["shifted"]),
            helper.make_node("Mul", ["shifted", "three"], ["scaled"]),
            helper.make_node("Floor", ["scaled"], ["whole"]),
            helper.make_node("Mul", ["scaled", "keep"], ["kept"]),
            helper.make_node("Mul", ["whole", "label"], ["only"]),
            helper.make_node("Add", ["kept", "only"], ["output0"]),
        ]
        last = "output0"
    return foreign(path, ["N", 3, SIDE_PX, SIDE_PX], nodes, constants, last, 3)


def reference(rows: NDArray[np.float32], layout: str, how: Boxes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(corners, scores, labels) decoded with torchvision, independently of `edge.inference.detector`."""
    table = torch.from_numpy(rows)
    if layout == "yolov10":
        boxes, scores, labels = table[:, :4], table[:, 4], table[:, 5].long()
    else:
        table = table.T if layout == "yolov9" else table
        scores, labels = (table[:, 5:] * table[:, 4:5] if layout == "yolov5" else table[:, 4:]).max(1)
        boxes = torchvision.ops.box_convert(table[:, :4], "cxcywh", "xyxy") * (SIDE_PX if layout == "rtdetr" else 1)
    kept = scores >= how.least_score
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    if layout in ("yolov5", "yolov9"):
        kept = torchvision.ops.batched_nms(boxes, scores, labels, how.overlap)
    else:
        kept = scores.argsort(descending=True, stable=True)
    return boxes[kept], scores[kept], labels[kept]


def noise(height: int, width: int, seed: int = 0) -> DecodedFrame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return DecodedFrame(pixels, width, height, Exif())


def adopt(source: Path, out: Path, *more: str) -> int:
    """Run the command with the table `labels.csv` beside `out`."""
    usual = ["--labels", str(out.with_name("labels.csv")), "--input", f"{SIDE_PX}x{SIDE_PX}", "--out", str(out)]
    return main(["adopt", str(source), *usual, *more])


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("softmax", [False, True])
def test_an_adopted_classifier_gives_its_own_scores(layout: str, channels: str, softmax: bool, tmp_path: Path) -> None:
    source = classifier(tmp_path / "foreign.onnx", layout, softmax)
    (tmp_path / "labels.csv").write_text(LABELS)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    own_input = ["--layout", layout, "--channels", channels, "--mean", *map(str, mean), "--std", *map(str, std)]
    assert adopt(source, tmp_path / "adopted.onnx", *own_input, "--licence", "CC0-1.0") == 0
    model = Model(tmp_path / "adopted.onnx")
    pixels = np.random.default_rng(3).integers(0, 256, (2, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    own = pixels[..., ::-1] if channels == "bgr" else pixels
    prepared = ((own / 255.0 - mean) / std).astype(np.float32)
    prepared = prepared.transpose(0, 3, 1, 2) if layout == "nchw" else prepared
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"images": prepared})
    logits = model.run(pixels).logits
    if softmax:
        logits = np.exp(logits)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert model.card.labels[0].taxon is not None
    assert model.card.licence == "CC0-1.0"


@pytest.mark.parametrize("layout", ["yolov5", "yolov9", "yolov10", "rtdetr"])
def test_boxes_are_those_of_a_reference_decoder(layout: str, tmp_path: Path) -> None:
    source = detector(tmp_path / "foreign.onnx", layout)
    (tmp_path / "labels.csv").write_text(DETECTOR_LABELS)
    assert adopt(source, tmp_path / "detector.onnx", "--boxes", layout) == 0
    found = Detector(tmp_path / "detector.onnx")
    frames = [noise(90, 160, 0), noise(120, 80, 1)]
    inputs = np.stack([resize_to_input(frame.pixels, SIDE_PX, SIDE_PX, "letterbox") for frame in frames])
    raw = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(
        None, {"images": (inputs.transpose(0, 3, 1, 2) / 255).astype(np.float32)}
    )[0]
    total = 0
    how = found.model.card.boxes
    assert how is not None
    for frame, rows in zip(frames, raw, strict=True):
        detections = found.detect(frame).boxes
        boxes, scores, labels = reference(rows, layout, how)
        corners, own_scores, own_labels, _ = decode(rows, how, SIDE_PX, SIDE_PX)
        np.testing.assert_allclose(corners, boxes.numpy(), atol=1e-3)
        np.testing.assert_allclose(own_scores, scores.numpy(), atol=1e-5)
        assert own_labels.tolist() == labels.tolist()
        scale = SIDE_PX / max(frame.width_px, frame.height_px)
        wide, high = round(frame.width_px * scale), round(frame.height_px * scale)
        bars = torch.tensor([(SIDE_PX - wide) // 2, (SIDE_PX - high) // 2] * 2)
        expected = ((boxes - bars) / torch.tensor([wide, high] * 2)).clamp(0, 1)
        inside = (expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])
        shown = [(d.box.x, d.box.y, d.box.x + d.box.width, d.box.y + d.box.height) for d in detections]
        np.testing.assert_allclose(np.array(shown), expected[inside].numpy(), atol=1e-4)
        kinds = [("animal", "human", "vehicle")[label] for label in labels[inside].tolist()]
        assert [detection.kind for detection in detections] == kinds
        total += len(shown)
    assert total > 5  # the made detector finds something


def test_a_foreign_classifier_is_quantised_through_the_same_gate(
    checkpoint: Checkpoint, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = checkpoint.build_network()
    foreign = torch.nn.Sequential(network.backbone, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), network.head)
    batch, example = torch.export.Dim("N"), (torch.zeros(2, 3, SIDE_PX, SIDE_PX),)
    program = torch.onnx.export(foreign.eval(), example, dynamo=True, verbose=False, dynamic_shapes=({0: batch},))
    assert program is not None
    onnx.save(program.model_proto, tmp_path / "foreign.onnx")
    (tmp_path / "labels.csv").write_text(
        "label,kind,scientificName,rank,family\nzebra,animal,Equus quagga,species,Equidae\n"
        "lion,animal,Panthera leo,species,Felidae\nblank,blank,,,\n"
    )
    source, own_input = tmp_path / "foreign.onnx", ["--mean", *["0.49803922"] * 3, "--std", *["0.50196078"] * 3]
    usual = [*own_input, "--calibrate", str(frames)]
    assert adopt(source, tmp_path / "refused.onnx", *usual, "--int8", "--limits", "decision_agreement=1.5") == 2
    error = capsys.readouterr().err
    assert "the int8 model is refused: the same decision on" in error
    assert "gate on" in error
    assert not (tmp_path / "refused.onnx").exists()
    assert adopt(source, tmp_path / "int8.onnx", *usual, "--int8") == 0
    assert adopt(source, tmp_path / "float.onnx", *usual) == 0
    int8, float_ = Model(tmp_path / "int8.onnx"), Model(tmp_path / "float.onnx")
    gate = int8.card.gate
    assert gate is not None
    assert gate.figures["decision_agreement"] >= gate.limits["decision_agreement"]
    assert gate.figures["accuracy_float"] > 0.9
    assert {proof.label for proof in gate.labels} == {"zebra", "lion", "blank"}
    assert float_.card.gate is None
    weights = [
        i.data_type for i in onnx.load(tmp_path / "int8.onnx").graph.initializer if len(i.dims) == 4 and i.dims[0] > 1
    ]
    assert weights.count(TensorProto.INT8) >= len(weights) - len(gate.float_nodes)
    assert TensorProto.INT8 in weights
    pixels = np.random.default_rng(3).integers(0, 256, (4, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = foreign(torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(float_.run(pixels).logits, expected, atol=1e-3 * np.abs(expected).max())
    assert np.corrcoef(int8.run(pixels).logits.ravel(), expected.ravel())[0, 1] > 0.95


def test_a_classifier_is_no_detector(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="says that it classifies"):
        Detector(tiny_model)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--input", "32x32"], "ask for [N, 3, 32, 32]"),
        (["--input", "64", "--output", "nothing"], "no output 'nothing'"),
        (["--input", "64", "--boxes", "yolov5", "--labels", "three.csv"], "yolov5 with 3 labels has 8 columns"),
        (["--input", "64", "--boxes", "rtdetr"], "no box shows a blank"),
        (["--input", "64", "--labels", "three.csv"], "3 labels; expected one score for each label"),
        (["--input", "64", "--labels", "bad.csv"], "bad.csv line 2: an animal needs scientificName"),
        (["--input", "64", "--labels", "none.csv"], "none.csv cannot be read"),
    ],
)
def test_a_wrong_description_of_the_model_is_one_line_of_error(
    more: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier(Path("foreign.onnx"), "nchw", False)
    Path("labels.csv").write_text(LABELS)
    Path("three.csv").write_text(DETECTOR_LABELS)
    Path("bad.csv").write_text("label,kind\nfox,animal\nblank,blank\n")
    assert main(["adopt", "foreign.onnx", "--labels", "labels.csv", "--out", "out.onnx", *more]) == 2
    assert expected in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("out.onnx").exists()
