"""Static int8 quantisation (QDQ): weights per output channel, the image itself as the quantised input.

Activations are uint8 and weights are symmetric int8: after ReLU6 an unsigned activation uses all its 256 levels, x86
has its fastest kernels for this pair (VNNI), and ARM's dot-product kernels support it as well. x86 without VNNI adds
pairs of products in 16 bits, which can saturate; `edge.inference.onnx_session` asks the runtime for exact kernels
there, so that the weights keep all eight bits.

Everything after the last feature map (pooling, classifier, attention) is a thousandth of the work, but each prediction
depends on it: its activations are rounded with a range measured for each image, the rest of it computes in float.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.graph import NETWORK_INPUT, SCALE, ZERO_POINT
from export.graph_edits import drop_unread_constants, rename, replace_node
from export.quantization.activation_ranges import Method, Observed, choose, observe
from export.quantization.bias_correction import correct_bias
from export.quantization.dynamic_matmul import quantise_products
from export.quantization.precision import Precision, convert
from export.quantization.reproducible_sums import integer_means, tie_free
from export.quantization.rounding import Rounding
from export.quantization.weight_only import store_as_int8

WEIGHTED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISED_OPS = (*WEIGHTED_OPS, "Add", "Mul", "Clip", "Relu", "MaxPool", "AveragePool", "Concat")
Rounded = Mapping[str, NDArray[np.float64]]
"""Weights that are on the int8 grid already, by name; others are rounded to the nearest."""
_NEAREST: Rounded = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of the quantisation."""

    ranges: Method = "mse"
    """How the ranges of activations are chosen (`export.quantization.activation_ranges.choose`)."""
    percentile: float = 99.99
    """Percentage of values that `ranges = "percentile"` keeps."""
    rounding: Rounding = "feedback"
    """How the weights of convolutions are rounded (`export.quantization.rounding`)."""
    correct_bias: bool = True
    """Whether biases are corrected for the rounding of weights (`export.quantization.bias_correction`)."""
    precision: Precision = "int8"
    float_nodes: tuple[str, ...] = ()
    """Nodes that stay in float."""


def body(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes worth quantising: from the backbone's first weighted layer to the activation after its last one.

    Nodes before the first weighted layer only prepare the image. In a graph made elsewhere, the backbone is every
    weighted layer but the last ones, which are the classifier.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    weighted = [n for n in model.graph.node if n.op_type in WEIGHTED_OPS and any(name in constants for name in n.input)]
    spine = [node for node in weighted if node.name.startswith("backbone.")] or _all_but_last(model, weighted)
    ends = {name for node in spine for name in node.output}
    wanted, kept = set(ends), set()
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.add(node.name)
    kept |= {node.name for node in model.graph.node if node.op_type in ("Clip", "Relu") and node.input[0] in ends}
    first = {node.name for node in spine}
    behind: set[str] = set()
    for node in model.graph.node:
        if node.name in first or behind & set(node.input):
            behind |= set(node.output)
        else:
            kept.discard(node.name)
    return [node for node in model.graph.node if node.name in kept and node.op_type in QUANTISED_OPS]


def _all_but_last(model: onnx.ModelProto, weighted: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The weighted nodes that lead to another weighted node."""
    names = {node.name for node in weighted}
    leads: set[str] = set()
    result = set()
    for node in reversed(model.graph.node):
        if leads & set(node.output):
            result.add(node.name)
        if node.name in names | result:
            leads |= set(node.input)
    return [node for node in weighted if node.name in result]


def observe_body(model: onnx.ModelProto, images: NDArray[np.uint8]) -> dict[str, Observed]:
    """Observe the float tensors into and out of the body's nodes on calibration images uint8[N, H, W, 3]."""
    typed = onnx.shape_inference.infer_shapes(model).graph.value_info
    floats = {info.name for info in typed if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    names = {name for node in body(model) for name in (*node.input, *node.output)}
    return observe(model, sorted(names & floats), images)


def activation_ranges(observed: dict[str, Observed], plan: Plan) -> dict[str, tuple[float, float]]:
    """The range of each tensor that eight bits cover."""
    return {name: choose(seen, plan.ranges, plan.percentile) for name, seen in observed.items()}


def quantise(
    model: onnx.ModelProto, observed: dict[str, Observed], plan: Plan, rounded: Rounded = _NEAREST
) -> onnx.ModelProto:
    """An int8 graph of the float graph `model`, which stays as it is, and its observed tensors (`observe_body`)."""
    if plan.precision != "int8":
        return convert(model, plan.precision, [node.name for node in body(model) if node.name not in plan.float_nodes])
    copy = deepcopy(model)
    quantised = [node.name for node in body(copy) if node.name not in plan.float_nodes]
    if plan.correct_bias:
        correct_bias(copy, {name: seen.channel_means for name, seen in observed.items()}, set(quantised), rounded)
    _replace_weights(copy, quantised, rounded)
    ranges = tie_free(copy, quantised, activation_ranges(observed, plan))
    ranges[NETWORK_INPUT] = ((0 - ZERO_POINT) * SCALE, (255 - ZERO_POINT) * SCALE)
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=quantised,
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTISED_OPS),
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    _join_input(result)
    _leave_out_zero_points(result)
    _pin_float_layers(result, {node.name for node in body(model)} - set(quantised))
    store_as_int8(result, ("Gemm", "MatMul"))
    quantise_products(result)
    integer_means(result)
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result


def _replace_weights(model: onnx.ModelProto, names: Collection[str], rounded: Rounded) -> None:
    weights = {node.input[1] for node in model.graph.node if node.name in names and len(node.input) > 1}
    for initializer in model.graph.initializer:
        if initializer.name in weights and initializer.name in rounded:
            value = rounded[initializer.name].astype(np.float32)
            initializer.CopyFrom(numpy_helper.from_array(value, initializer.name))


def _join_input(model: onnx.ModelProto) -> None:
    """Feed the image's bytes to the first quantised layer as they are, instead of rounding them a second time."""
    graph = model.graph
    rounding = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == NETWORK_INPUT), None)
    if rounding is None:
        return
    dequantize = next(node for node in graph.node if NETWORK_INPUT in node.output)
    graph.node.remove(rounding)
    rename(graph, rounding.output[0], dequantize.input[0])
    if not any(NETWORK_INPUT in node.input for node in graph.node):
        graph.node.remove(dequantize)


def _leave_out_zero_points(model: onnx.ModelProto) -> None:
    """Remove the zero points of biases, which are all zero: a DequantizeLinear without zero point assumes zero.

    They are two hundredths of the file.
    """
    graph = model.graph
    constants = {initializer.name: initializer for initializer in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 3:
            value, _, zero_point = (constants.get(name) for name in node.input)
            if value is not None and value.data_type == TensorProto.INT32 and zero_point is not None:
                assert not numpy_helper.to_array(zero_point).any()
                del node.input[2]
    drop_unread_constants(graph)


def _pin_float_layers(model: onnx.ModelProto, names: set[str]) -> None:
    """Keep the runtime from quantising layers that were left in float.

    After a DequantizeLinear, ONNX Runtime (since 1.20) rounds a float layer's weights to int8 by itself, with one scale
    for the whole tensor. So where a float layer reads a quantised tensor, plain nodes do the arithmetic instead.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    for node in [node for node in graph.node if node.name in names and node.op_type in WEIGHTED_OPS]:
        source = producers.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear":
            continue
        quantised, scale, zero_point = source.input
        wide, zero, centred, value = (f"{node.name}/float_{part}" for part in ("wide", "zero", "centred", "value"))
        plain = [
            helper.make_node("Cast", [quantised], [wide], f"{node.name}/float/Cast", to=TensorProto.FLOAT),
            helper.make_node("Cast", [zero_point], [zero], f"{node.name}/float/Cast_2", to=TensorProto.FLOAT),
            helper.make_node("Sub", [wide, zero], [centred], f"{node.name}/float/Sub"),
            helper.make_node("Mul", [centred, scale], [value], f"{node.name}/float/Mul"),
        ]
        node.input[0] = value
        replace_node(graph, node, [*plain, node])
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
