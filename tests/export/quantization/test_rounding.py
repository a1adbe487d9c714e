"""Rounding with feedback: the errors of a layer's weights cancel out at its output."""

from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.inference.onnx_session import open_session
from export.graph import INPUT
from export.quantization.rounding import LIMIT, nearest, round_weights, scales

SIDE_PX = 12
CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "pointwise": ((4, 6, 1, 1), {}),
    "depthwise": ((6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "whole": ((4, 6, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "grouped": ((4, 3, 3, 3), {"group": 2, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
}


def graph(weight: np.ndarray[Any, Any], given: dict[str, Any]) -> onnx.ModelProto:
    """A convolution of six channels, which are mixtures of the image's three."""
    random = np.random.default_rng(1)
    mix = random.normal(size=(6, 3, 3, 3)).astype(np.float32) / 255
    nodes = [
        helper.make_node("Transpose", [INPUT], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], "numbers", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["numbers", "mix"], ["mixed"], "mix", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["mixed", "weight"], ["sums"], "layer", **given),
    ]
    held = [numpy_helper.from_array(mix, "mix"), numpy_helper.from_array(weight, "weight")]
    shape = [1, SIDE_PX, SIDE_PX, 3]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info("sums", TensorProto.FLOAT, None)],
            held,
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


@pytest.mark.parametrize("name", CASES)
def test_a_layers_output_is_closer_than_with_the_nearest_weights(name: str) -> None:
    shape, given = CASES[name]
    random = np.random.default_rng(0)
    # Few levels, so that rounding is felt: one weight of each output is far larger than the others.
    weight = random.normal(scale=0.02, size=shape).astype(np.float32)
    weight.reshape(shape[0], -1)[:, 0] = 1.0
    model = graph(weight, given)
    coarse = random.integers(0, 256, (24, 3, 3, 3)).astype(np.uint8)
    images = np.stack([cv2.resize(image, (SIDE_PX, SIDE_PX)) for image in coarse])  # smooth, as photographs are
    rounded = round_weights(model, [node for node in model.graph.node if node.name == "layer"], images)["weight"]
    levels = rounded / scales(weight)
    assert np.abs(levels - np.round(levels)).max() < 1e-9
    assert np.abs(levels).max() <= LIMIT + 1e-9
    assert np.allclose(scales(rounded), scales(weight))  # the quantiser finds the same grid

    def outputs_with(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        session = open_session(graph(values.astype(np.float32), given).SerializeToString())
        return np.concatenate([session.run(None, {INPUT: image[None]})[0] for image in images])

    def deviation(values: np.ndarray[Any, Any]) -> float:
        """Standard deviation of the output's error about its mean, which is corrected in the bias."""
        error = outputs_with(values) - outputs_with(weight)
        return float((error - error.mean(axis=(0, 2, 3), keepdims=True)).std())

    assert deviation(rounded) < 0.9 * deviation(nearest(weight))


def test_a_channel_without_weights_stays_empty() -> None:
    weight = np.zeros((4, 6, 1, 1), np.float32)
    weight[0] = 1.0
    model = graph(weight, {})
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    rounded = round_weights(model, [model.graph.node[-1]], images)["weight"]
    assert (rounded[1:] == 0).all()
    assert np.allclose(rounded[0], 1.0)
