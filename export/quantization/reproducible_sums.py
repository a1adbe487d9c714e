"""Sums that come out the same on every processor, because none lies close to a tie between two roundings.

Products of bytes are integers, the same everywhere. Runtimes differ where quantised tensors are added (in float on
x86-64, in fixed point on ARM) and where floats are summed in another order. A sum that lies almost half way between two
bytes is then rounded up on one processor and down on another, and that byte changes everything computed from it
(docs/results/device.md).
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph_edits import add_constants, drop_unread_constants, replace_node

Range = tuple[float, float]
PARTS = 1001  # odd, so that no fraction with this denominator is a half
MANTISSA_BITS = 24
STEP_BITS = 11  # for an activation between two float layers; the next weights get what the mantissa leaves
_ROUNDER = 1.5 * 2.0**23  # added to a float below 2**22 and subtracted again, it leaves the nearest integer


def tie_free(model: onnx.ModelProto, quantised: Collection[str], ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, changed by less than a hundredth, so that no quantised addition comes close to a tie.

    Each addend's scale becomes a fraction of the sum's scale with the denominator `PARTS`. Whatever the bytes are, no
    sum is then closer to a tie than 1 / (2 `PARTS`) of a step, a hundred times the difference between runtimes.
    """
    settled = dict(ranges)
    nodes = [node for node in model.graph.node if node.name in quantised]
    # An activation after a sum is merged with it, and its range counts; a MaxPool keeps the scale of its input.
    merged = {node.input[0]: node.output[0] for node in nodes if node.op_type in ("Relu", "Clip")}
    pooled = {node.output[0]: node.input[0] for node in nodes if node.op_type == "MaxPool"}
    for node in reversed(nodes):  # backwards: a sum may be an addend of a later sum, whose scale decides
        total = merged.get(node.output[0], node.output[0])
        addends = [pooled.get(name, name) for name in node.input]
        if node.op_type != "Add" or not all(name in settled for name in (*addends, total)):
            continue
        whole = _width(settled[total])
        for name in addends:
            low, high = settled[name]
            wanted = whole * max(1, round(_width((low, high)) / whole * PARTS)) / PARTS
            stretch = wanted / max(_width((low, high)), 1e-30)
            settled[name] = (low * stretch, high * stretch)
    return settled


def _width(range_: Range) -> float:
    """Width of the range as it is quantised, which always includes zero."""
    return max(range_[1], 0.0) - min(range_[0], 0.0)


def integer_means(model: onnx.ModelProto) -> None:
    """Compute means over quantised maps from their bytes, in place: sums of integers do not depend on the order."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    for node in [node for node in graph.node if node.op_type in ("ReduceMean", "GlobalAveragePool")]:
        source = producers.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear":
            continue
        quantised, scale, zero_point = source.input
        mean = node.output[0]
        wide, integer, zero, centred = (f"{node.name}/{part}" for part in ("wide", "integer", "zero", "centred"))
        node.input[0], node.output[0] = wide, integer
        nodes = [
            helper.make_node("Cast", [quantised], [wide], f"{node.name}/Cast", to=TensorProto.FLOAT),
            node,
            helper.make_node("Cast", [zero_point], [zero], f"{node.name}/Cast_2", to=TensorProto.FLOAT),
            helper.make_node("Sub", [integer, zero], [centred], f"{node.name}/Sub"),
            helper.make_node("Mul", [centred, scale], [mean], f"{node.name}/Mul"),
        ]
        replace_node(graph, node, nodes)


def sum_exactly(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Make float convolutions sum exactly, in place.

    Where all products are integers and no sum needs more bits than a float's mantissa has, every order gives the same
    sum. Of the nodes `names` left in float, this is done for the chain that starts at the image: the first one reads
    centred bytes, each next one the output of a Clip. Between two of them activations are rounded to integers of
    `STEP_BITS`; weights and biases are rounded to the remaining bits.
    """
    graph = model.graph
    layers = _chain_at_bytes(graph, names)
    if not layers:
        return
    constants = {initializer.name: initializer for initializer in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    scaled = producers[layers[0].input[0]]  # centred bytes times their scale, which goes into the weights
    zero_point = int(numpy_helper.to_array(constants[producers[producers[scaled.input[0]].input[1]].input[0]]))
    unit, largest = float(numpy_helper.to_array(constants[scaled.input[1]])), float(max(zero_point, 255 - zero_point))
    layers[0].input[0] = scaled.input[0]
    for layer, reader in zip(layers, [*layers[1:], None], strict=True):
        clip = None if reader is None else producers[reader.input[0]]
        high = 0.0 if clip is None else float(numpy_helper.to_array(constants[clip.input[2]]))
        steps = 1.0 if clip is None else 2.0 ** np.floor(np.log2(2**STEP_BITS / high))
        given, offset = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in layer.input[1:3])
        weights, bias = _on_grid(given * unit * steps, offset * steps, largest)
        constants[layer.input[1]].CopyFrom(numpy_helper.from_array(weights, layer.input[1]))
        constants[layer.input[2]].CopyFrom(numpy_helper.from_array(bias, layer.input[2]))
        if clip is not None and reader is not None:
            unit, largest = 1 / steps, high * steps
            _clip_to_integers(graph, clip, reader, largest, len(bias))
    graph.node.remove(scaled)
    drop_unread_constants(graph)


def _chain_at_bytes(graph: onnx.GraphProto, names: Collection[str]) -> list[onnx.NodeProto]:
    """The float convolutions (with bias) of which the first reads scaled, centred bytes.

    Each next one is the only reader of the clipped sums of the one before.
    """
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    floats = [node for node in graph.node if node.name in names and node.op_type == "Conv" and len(node.input) == 3]
    chain = [node for node in floats if producers.get(node.input[0], node).name == f"{node.name}/float/Mul"][:1]
    while chain:
        clips = readers.get(chain[-1].output[0], [])
        behind = readers.get(clips[0].output[0], []) if len(clips) == 1 and clips[0].op_type == "Clip" else []
        if len(behind) != 1 or behind[0] not in floats:
            break
        chain.append(behind[0])
    return chain


def _on_grid(
    weights: NDArray[np.float64], bias: NDArray[np.float64], largest: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """float[O, ...] weights and float[O] biases rounded to multiples of a power of two for each output channel.

    That is the smallest power with which no sum over inputs up to `largest` needs more bits than the mantissa has.
    """
    most = np.abs(weights).reshape(len(weights), -1).sum(axis=1) * largest + np.abs(bias)
    step = 2.0 ** (np.ceil(np.log2(np.maximum(most, 1e-30) * 1.001)) - MANTISSA_BITS)
    wide = step.reshape(-1, *[1] * (weights.ndim - 1))
    return (np.rint(weights / wide) * wide).astype(np.float32), (np.rint(bias / step) * step).astype(np.float32)


def _clip_to_integers(
    graph: onnx.GraphProto, clip: onnx.NodeProto, reader: onnx.NodeProto, high: float, channels: int
) -> None:
    """Round and clip the input of `reader` by two convolutions of one weight each.

    A Round between two float convolutions would make the runtime change its memory layout twice, which takes 5% of the
    network's time.
    """
    source = clip.input[0]
    parts = ("one", "up", "down", "low", "high", "raised", "clipped", "integers")
    one, up, down, low, top, raised, clipped, integers = (f"{clip.name}/{part}" for part in parts)
    constants: dict[str, Any] = {one: np.ones((channels, 1, 1, 1)), up: np.full(channels, _ROUNDER)}
    constants |= {down: np.full(channels, -_ROUNDER), low: np.array(_ROUNDER), top: np.array(_ROUNDER + high)}
    add_constants(graph, {name: value.astype(np.float32) for name, value in constants.items()})
    each_channel: dict[str, Any] = {"group": channels, "kernel_shape": [1, 1]}
    nodes = [
        helper.make_node("Conv", [source, one, up], [raised], f"{clip.name}/Raise", **each_channel),
        helper.make_node("Clip", [raised, low, top], [clipped], f"{clip.name}/Clip"),
        helper.make_node("Conv", [clipped, one, down], [integers], f"{clip.name}/Lower", **each_channel),
    ]
    replace_node(graph, clip, nodes)
    reader.input[0] = integers
