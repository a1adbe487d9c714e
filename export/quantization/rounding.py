"""Rounds weights to the int8 grid so that the errors of a layer's weights cancel out at its output.

A layer's output sums its weights over inputs that rise and fall together, so rounding each weight to the nearest lets
errors add up. Here weights are rounded one input after the other, and the weights that are still to be rounded make up
for the error so far (Frantar et al. 2022, "GPTQ"; the layer's mean error is corrected in the bias).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edge.inference.onnx_session import open_session
from export.graph import INPUT
from export.graph_edits import attributes
from export.quantization.activation_ranges import with_outputs

Rounding = Literal["nearest", "feedback"]
LIMIT = 127
POSITIONS = 1024
"""About how many positions of a layer's input are used from each image."""
WIDEST = 2304
"""Most weights of one output; layers with more are rounded to the nearest, since the work grows with their cube."""
DAMPING = 0.01
"""Share of the mean variance that is added to each variance, because inputs that hardly vary say nothing."""
Array = NDArray[np.float64]


def scales(weight: NDArray[np.floating], outputs: int = 0) -> Array:
    """float64: the int8 step of each output channel, as the quantiser computes it; the channels lie along the axis
    `outputs`, and the other axes have length 1.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis != outputs)
    steps = np.abs(weight.astype(np.float64)).max(axis=others, keepdims=True) / LIMIT
    return np.where(steps > 0, steps, 1.0)


def nearest(weight: NDArray[np.floating]) -> Array:
    """The weight rounded to symmetric int8 with one scale for each output channel."""
    steps = scales(weight)
    return np.asarray(np.round(weight / steps) * steps)


def round_weights(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], images: NDArray[np.uint8]
) -> dict[str, Array]:
    """The weights of the convolutions among `nodes`, by name, on the int8 grid: float64 of the same shape."""
    held = {initializer.name: initializer for initializer in model.graph.initializer}
    layers = {
        node.input[1]: node
        for node in nodes
        if node.op_type == "Conv"
        and node.input[1] in held
        and int(np.prod(held[node.input[1]].dims[1:])) <= WIDEST
        and node.input[0] not in held
    }
    covariances = _covariances(model, layers, {name: tuple(held[name].dims) for name in layers}, images)
    return {
        name: _rounded(numpy_helper.to_array(held[name]).astype(np.float64), covariance)
        for name, covariance in covariances.items()
    }


def _covariances(
    model: onnx.ModelProto,
    layers: Mapping[str, onnx.NodeProto],
    shapes: Mapping[str, tuple[int, ...]],
    images: NDArray[np.uint8],
) -> dict[str, Array]:
    """float64[G, K, K] by weight: covariance over `images` of the K inputs that an output of each of G groups sums."""
    inputs = sorted({node.input[0] for node in layers.values()})
    session = open_session(with_outputs(model, inputs).SerializeToString())
    sums: dict[str, Array] = {}
    squares: dict[str, Array] = {}
    counts = dict.fromkeys(layers, 0)
    for image in images:
        values = dict(zip(inputs, session.run(inputs, {INPUT: image[None]}), strict=True))
        for name, node in layers.items():
            seen = _columns(values[node.input[0]][0], node, shapes[name])
            sums[name] = sums.get(name, 0.0) + seen.sum(axis=2, dtype=np.float64)
            squares[name] = squares.get(name, 0.0) + (seen @ seen.transpose(0, 2, 1)).astype(np.float64)
            counts[name] += seen.shape[2]
    means = {name: total / counts[name] for name, total in sums.items()}
    return {
        name: total / counts[name] - means[name][:, :, None] * means[name][:, None, :]
        for name, total in squares.items()
    }


def _columns(values: NDArray[np.float32], node: onnx.NodeProto, shape: Sequence[int]) -> NDArray[np.float32]:
    """float32[G, K, M]: the K inputs of an output at M positions, from float32[C, H, W]."""
    given = attributes(node)
    high, wide = shape[2:]
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
    down, across = given.get("dilations", [1, 1])
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, ((high - 1) * down + 1, (wide - 1) * across + 1), axis=(1, 2)
    )[..., ::down, ::across]
    row_step, column_step = given.get("strides", [1, 1])
    positions = windows.shape[1] * windows.shape[2] / (row_step * column_step)
    thinning = max(1, round(float(np.sqrt(positions / POSITIONS))))
    windows = windows[:, :: row_step * thinning, :: column_step * thinning]
    groups = given.get("group", 1)
    taps = np.ascontiguousarray(windows.transpose(0, 3, 4, 1, 2))
    return taps.reshape(groups, len(values) // groups * high * wide, -1)


def _rounded(weight: Array, covariance: Array) -> Array:
    """float64[O, ...] rounded to its grid, given the covariance float64[G, K, K] of its inputs."""
    groups, count = covariance.shape[:2]
    steps = scales(weight).reshape(groups, -1, 1)
    values = weight.reshape(groups, -1, count)
    # The largest weight of each channel defines the grid, so it is not changed.
    largest = (np.abs(values).argmax(axis=2)[..., None] == np.arange(count)) & values.any(axis=2, keepdims=True)
    variance = np.einsum("gkk->gk", covariance)
    damping = DAMPING * np.maximum(variance.mean(axis=1, keepdims=True), 1e-12)
    # Inputs that vary most come first, while other weights can still make up for their error.
    order = np.argsort(-variance, axis=1, kind="stable")
    values = np.take_along_axis(values, order[:, None], axis=2)
    largest = np.take_along_axis(largest, order[:, None], axis=2)
    damped = covariance + damping[..., None] * np.eye(count)
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], axis=1), order[:, None], axis=2)
    shares = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)  # upper triangular
    rounded = np.empty_like(values)
    for place in range(count):
        own = values[:, :, place : place + 1]
        level = np.clip(np.round(own / steps), -LIMIT, LIMIT)
        level = np.where(largest[:, :, place : place + 1], np.copysign(LIMIT, own), level)
        rounded[:, :, place : place + 1] = level * steps
        error = (own - level * steps) / shares[:, place, place][:, None, None]
        values[:, :, place:] -= error * shares[:, place : place + 1, place:]
    restored = np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None], axis=2)
    return restored.reshape(weight.shape)
