"""No processor may round a sum another way than the next one."""

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import numpy_helper

from edge.frame import decode
from export.exact import integer_means
from export.graph import float_graph
from export.quantize import Plan, quantise
from train.checkpoint import Checkpoint


@pytest.fixture
def int8(checkpoint: Checkpoint, frames: Path) -> onnx.ModelProto:
    pictures = np.stack([decode(path.read_bytes()).pixels for path in sorted(frames.glob("*.png"))])
    return quantise(float_graph(checkpoint), pictures, Plan())


def test_no_sum_of_two_bytes_is_near_a_tie(int8: onnx.ModelProto) -> None:
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    producers = {name: node for node in int8.graph.node for name in node.output}
    readers = {name: node for node in int8.graph.node for name in node.input}
    sums = [node for node in int8.graph.node if node.op_type == "Add" and node.output[0] in readers
            and readers[node.output[0]].op_type == "QuantizeLinear"]  # fmt: skip
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
    """Of a map that is quantised, and with the same result."""
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
