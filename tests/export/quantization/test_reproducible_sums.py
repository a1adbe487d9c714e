"""Sums come out the same on every processor, because none stands close to a tie between two roundings."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import numpy_helper

from edge.image.decode import decode
from edge.inference.probabilities import FloatArray
from export.graph import float_graph
from export.quantization.quantize import Plan, observe_body, quantise
from export.quantization.reproducible_sums import integer_means, sum_exactly
from train.model.checkpoint import Checkpoint


@pytest.fixture
def int8(checkpoint: Checkpoint, frames: Path) -> onnx.ModelProto:
    images = np.stack([decode(path.read_bytes()).pixels for path in sorted(frames.glob("*.png"))])
    graph = float_graph(checkpoint)
    return quantise(graph, observe_body(graph, images), Plan())


def test_no_sum_of_two_bytes_is_near_a_tie(int8: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    producers = {name: node for node in int8.graph.node for name in node.output}
    readers = {name: node for node in int8.graph.node for name in node.input}
    quantised = {name for name, node in readers.items() if node.op_type == "QuantizeLinear"}
    sums = [node for node in int8.graph.node if node.op_type == "Add" and node.output[0] in quantised]
    assert sums
    levels = np.arange(256.0)
    for node in sums:
        addends = [producers[name] for name in node.input]
        assert all(addend.op_type == "DequantizeLinear" for addend in addends)
        (a_scale, a_zero), (b_scale, b_zero), (scale, _) = (
            (float(values[q.input[1]]), float(values[q.input[2]])) for q in (*addends, readers[node.output[0]])
        )
        totals = ((levels - a_zero) * a_scale)[:, None] + ((levels - b_zero) * b_scale)[None, :]
        assert np.abs(totals / scale % 1.0 - 0.5).min() > 4e-4


def test_means_are_taken_of_whole_numbers() -> None:
    """The mean over a quantised map is computed from its bytes, with the same result."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 5, 7), np.uint8)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["map"], "read"),
            onnx.helper.make_node("ReduceMean", ["map", "axes"], ["mean"], "mean", keepdims=0),
        ],
        "a mean",
        [onnx.helper.make_tensor_value_info("bytes", onnx.TensorProto.UINT8, pixels.shape)],
        [onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, (1, 3))],
        [
            numpy_helper.from_array(np.array(0.013, np.float32), "scale"),
            numpy_helper.from_array(np.array(7, np.uint8), "zero"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    integer_means(model)
    onnx.checker.check_model(model, full_check=True)
    (mean,) = [node for node in model.graph.node if node.op_type == "ReduceMean"]
    assert [node.op_type for node in model.graph.node if mean.input[0] in node.output] == ["Cast"]
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"bytes": pixels})
    assert found == pytest.approx(((pixels.astype(np.float64) - 7) * 0.013).mean(axis=(2, 3)), abs=1e-6)


def test_float_layers_sum_exactly() -> None:
    """The runtime's float sums equal those in 64 bits to the bit, and are close to the layers' sums before."""
    random = np.random.default_rng(1)
    sizes = (3, 8, 5)
    weights = [random.normal(0, 0.4, (out, into, 1, 1)).astype(np.float32) for into, out in pairwise(sizes)]
    biases = [random.normal(0, 0.5, size).astype(np.float32) for size in sizes[1:]]
    constants: dict[str, Any] = {"scale": 1 / 128, "low": 0.0, "high": 6.0}
    constants |= {"w0": weights[0], "w1": weights[1], "b0": biases[0], "b1": biases[1]}
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["bytes"], ["wide"], "first/float/Cast", to=onnx.TensorProto.FLOAT),
            node("Cast", ["zero"], ["middle"], "first/float/Cast_2", to=onnx.TensorProto.FLOAT),
            node("Sub", ["wide", "middle"], ["centred"], "first/float/Sub"),
            node("Mul", ["centred", "scale"], ["value"], "first/float/Mul"),
            node("Conv", ["value", "w0", "b0"], ["sums"], "first"),
            node("Clip", ["sums", "low", "high"], ["clipped"], "first/Clip"),
            node("Conv", ["clipped", "w1", "b1"], ["found"], "second"),
        ],
        "two float layers",
        [onnx.helper.make_tensor_value_info("bytes", onnx.TensorProto.UINT8, (1, 3, 16, 16))],
        [onnx.helper.make_tensor_value_info("found", onnx.TensorProto.FLOAT, (1, 5, 16, 16))],
        [
            numpy_helper.from_array(np.array(127, np.uint8), "zero"),
            *(numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    pixels = random.integers(0, 256, (1, 3, 16, 16), np.uint8)
    before = _run(model, pixels)
    sum_exactly(model, ("first", "second"))
    onnx.checker.check_model(model, full_check=True)
    after = _run(model, pixels)
    assert after == pytest.approx(before, abs=0.02)
    values = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    sums = np.einsum("oi,nihw->nohw", values["w0"][:, :, 0, 0], pixels - 127.0) + values["b0"][:, None, None]
    steps = np.clip(np.rint(sums), 0.0, 6.0 * 256)
    exact = np.einsum("oi,nihw->nohw", values["w1"][:, :, 0, 0], steps) + values["b1"][:, None, None]
    assert np.array_equal(after.astype(np.float64), exact)


def _run(model: onnx.ModelProto, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> FloatArray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: FloatArray = session.run(None, {"bytes": pixels})[0]
    return found
