"""Makes small models with known outputs: a detector with given boxes of any layout, and a classifier of colours."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.inference.card import METADATA_KEY, Boxes, Calibration, Card, DetectorLayout, Label
from edge.vocabulary import Kind
from tests.support.tiny_model import LABELS, tiny_card

SIDE_PX = 64
DETECTOR_LABELS = (
    Label("animal", Kind.ANIMAL, Kind.ANIMAL, LABELS[0].taxon),
    Label("person", Kind.HUMAN, "person"),
    Label("vehicle", Kind.VEHICLE, "vehicle"),
)
Drawn = tuple[float, float, float, float, float, int]
"""left, top, right, bottom in fractions of the input, score, place of the label"""


def layout_rows(boxes: Sequence[Drawn], layout: DetectorLayout) -> NDArray[np.float32]:
    """float32 table of one frame as a detector of that layout gives it."""
    rows = []
    for left, top, right, bottom, score, label in boxes:
        scores = np.eye(3)[label] * score
        centre = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        in_pixels = np.array(centre) * SIDE_PX
        if layout == "yolov5":
            rows.append([*in_pixels, 0.99, *(scores / 0.99)])
        elif layout == "yolov9":
            rows.append([*in_pixels, *scores])
        elif layout == "rtdetr":
            rows.append([*centre, *scores])
        else:
            rows.append([*(np.array([left, top, right, bottom]) * SIDE_PX), score, label])
    table = np.array(rows, np.float32).reshape(len(boxes), -1)
    return table.T if layout == "yolov9" else table


def write_known_detector(
    path: Path, boxes: Sequence[Drawn], layout: DetectorLayout = "yolov5", fit: str = "squash", name: str = "boxes"
) -> Path:
    """A detector that gives `boxes` for every frame that is not dark; in a dark one each score is a tenth."""
    table = layout_rows(boxes, layout)
    columns = table.T if layout == "yolov9" else table
    fading = columns * np.float32(0.9)
    fading[:, :4] = 0
    if layout in ("yolov5", "yolov10"):
        fading[:, 5:] = 0  # objectness alone; the label's place stays
    fades = fading.T if layout == "yolov9" else fading
    constants = {
        "boxes": table[None],
        "fades": fades[None],
        "last": np.array([3], np.int64),
        "dark": np.array(40, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["wide"], ["brightest"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["brightest", "last"], ["brightness"]),
        helper.make_node("Less", ["brightness", "dark"], ["is_dark"]),
        helper.make_node("Cast", ["is_dark"], ["darkness"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["fades", "darkness"], ["faded"]),
        helper.make_node("Sub", ["boxes", "faded"], ["detections"]),
    ]
    graph = helper.make_graph(
        nodes,
        "known",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE_PX, SIDE_PX, 3])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", *table.shape])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    card = Card(
        name,
        "1",
        "2026-01-01T00:00:00Z",
        DETECTOR_LABELS,
        SIDE_PX,
        SIDE_PX,
        Calibration(1.0, {"species": 0.5}),
        fit=fit,  # type: ignore[arg-type]
        task="detect",
        boxes=Boxes(layout),
    )
    return _write(path, graph, card)


def write_colour_classifier(path: Path, card: Card | None = None) -> Path:
    """A classifier of 32 px: red is a roe deer, green a red deer, blue a tawny owl, black a blank."""
    usual = tiny_card("colours")
    thresholds = usual.calibration.thresholds | {"class": 0.7}
    own = card or replace(
        usual, calibration=replace(usual.calibration, thresholds=thresholds, rejection=None, second_look=None)
    )
    side = own.input_width_px
    weights = np.zeros((3, len(LABELS)), np.float32)
    weights[0, 0] = weights[1, 1] = weights[2, 4] = 24.0
    bias = np.array([0, 0, -9, -9, 0, 9], np.float32)
    constants = {"scale": np.float32(1 / 255), "zero": np.uint8(0), "weights": weights, "bias": bias}
    nodes = [
        helper.make_node("DequantizeLinear", ["pixels", "scale", "zero"], ["colours"]),
        helper.make_node("ReduceMean", ["colours"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(LABELS)])],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return _write(path, graph, own)


def _write(path: Path, graph: onnx.GraphProto, card: Card) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path
