"""A float graph as an int8 one: static QDQ, weights per output channel, the picture itself as the quantised input.

Activations are uint8 and weights int8 (symmetric): after ReLU6 an unsigned activation uses all its 256 levels, x86 has
its fastest kernels for this pair (VNNI) and ARM's dot-product kernels take it as well. x86 without VNNI adds pairs of
products in 16 bits, which can saturate; `edge.inference.onnx_session` asks the runtime for its exact kernels there, so
the weights keep all eight bits.

What stands behind the last feature map (pooling, classifier, attention) is a thousandth of the work and decides every
answer: its activations are rounded with a range found for each picture, everything else in it computes in float.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from export.graph import NETWORK_INPUT, SCALE, ZERO_POINT
from export.quantization.activation_ranges import Method, Observed, choose, observe
from export.quantization.bias_correction import correct_bias
from export.quantization.dynamic_matmul import multiply_integers
from export.quantization.precision import Precision, convert
from export.quantization.reproducible_sums import drop_unused_constants, integer_means, tie_free
from export.quantization.rounding import Rounding
from export.quantization.weight_only import narrow_weights

QUANTISED_OPS = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "Clip",
    "Relu",
    "MaxPool",
    "AveragePool",
    "Concat",
)
WEIGHTED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Rounded = Mapping[str, NDArray[np.float64]]
_NEAREST: Rounded = {}


@dataclass(frozen=True, slots=True)
class Plan:
    """How to quantise."""

    ranges: Method = "mse"
    """How the ranges of activations are chosen."""
    percentile: float = 99.99
    """Share of values that `ranges = "percentile"` keeps, in percent."""
    rounding: Rounding = "feedback"
    """How the weights of convolutions come to the int8 grid (`export.quantization.rounding`)."""
    correct_bias: bool = True
    precision: Precision = "int8"
    float_nodes: tuple[str, ...] = ()
    """Nodes that stay in float."""
    reduce_range: bool = False
    """Seven-bit weights, for runtimes that add pairs of products in 16 bits."""

    def with_float(self, nodes: tuple[str, ...]) -> "Plan":
        """The same with other nodes left in float."""
        return replace(self, float_nodes=nodes)


def quantise(model: onnx.ModelProto, pictures: NDArray[np.uint8], plan: Plan) -> onnx.ModelProto:
    """Static int8 from the float graph and uint8[N, H, W, 3] calibration pictures."""
    nodes = body(model)
    return quantise_observed(model, observe(model, watched(model, nodes), pictures), plan)


def body(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes worth eight bits: what leads to the backbone's weighted layers, and the activation behind the last of them.
    What stands before the first of them is arithmetic on the picture, a few numbers of it or each of its bytes once.

    In a graph that is not ours the backbone is every weighted layer but the last ones, which are the classifier.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    weighted = [n for n in model.graph.node if n.op_type in WEIGHTED_OPS and any(name in constants for name in n.input)]
    spine = [node for node in weighted if node.name.startswith("backbone.")] or _all_but_last(model, weighted)
    wanted = {name for node in spine for name in node.output}
    kept = set()
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.add(node.name)
    ends = {name for node in spine for name in node.output}
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
    """The weighted nodes that have another weighted node behind them."""
    names = {node.name for node in weighted}
    leads: set[str] = set()
    result = set()
    for node in reversed(model.graph.node):
        if leads & set(node.output):
            if node.name in names:
                result.add(node.name)
            leads |= set(node.input)
        elif node.name in names:
            leads |= set(node.input)
    return [node for node in weighted if node.name in result]


def watched(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Float tensors that flow into or out of `nodes`."""
    typed = onnx.shape_inference.infer_shapes(model).graph.value_info
    floats = {info.name for info in typed if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    return sorted({name for node in nodes for name in (*node.input, *node.output) if name in floats})


def activation_ranges(observed: dict[str, Observed], plan: Plan) -> dict[str, tuple[float, float]]:
    """The part of each tensor's values that eight bits cover."""
    return {name: choose(seen, plan.ranges, plan.percentile) for name, seen in observed.items()}


def quantise_observed(
    model: onnx.ModelProto, observed: dict[str, Observed], plan: Plan, rounded: Rounded = _NEAREST
) -> onnx.ModelProto:
    """As `quantise`, from ranges observed before. The float graph stays as it is.

    `rounded` holds weights that are on the int8 grid already, by name; others are rounded to the nearest.
    """
    if plan.precision != "int8":
        return convert(model, plan.precision, [node.name for node in body(model) if node.name not in plan.float_nodes])
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
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
        reduce_range=plan.reduce_range,
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
    narrow_weights(result, ("Gemm", "MatMul"))
    multiply_integers(result)
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
    """Feed the picture's bytes to the first quantised layer as they are, instead of rounding them a second time."""
    graph = model.graph
    rounding = next((n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == NETWORK_INPUT), None)
    if rounding is None:
        return
    dequantize = next(node for node in graph.node if NETWORK_INPUT in node.output)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == rounding.output[0]:
                node.input[place] = dequantize.input[0]
    graph.node.remove(rounding)
    if not any(NETWORK_INPUT in node.input for node in graph.node):
        graph.node.remove(dequantize)


def _leave_out_zero_points(model: onnx.ModelProto) -> None:
    """Of biases, where they are zeros, as many as channels; a DequantizeLinear without any takes them to be that.

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
    drop_unused_constants(graph)


def _pin_float_layers(model: onnx.ModelProto, names: set[str]) -> None:
    """Keep the runtime from quantising what was left in float.

    Behind a DequantizeLinear ONNX Runtime (since 1.20) rounds a float layer's weights to int8 by itself, with one scale
    for the whole tensor. Where a float layer reads a quantised tensor, plain nodes do the same arithmetic.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    for node in [node for node in graph.node if node.name in names and node.op_type in WEIGHTED_OPS]:
        source = producers.get(node.input[0])
        if source is None or source.op_type != "DequantizeLinear":
            continue
        quantised, scale, zero_point = source.input
        wide, zero, centred, value = (f"{node.name}/float_{part}" for part in ("wide", "zero", "centred", "value"))
        spelled_out = [
            helper.make_node("Cast", [quantised], [wide], f"{node.name}/float/Cast", to=TensorProto.FLOAT),
            helper.make_node("Cast", [zero_point], [zero], f"{node.name}/float/Cast_2", to=TensorProto.FLOAT),
            helper.make_node("Sub", [wide, zero], [centred], f"{node.name}/float/Sub"),
            helper.make_node("Mul", [centred, scale], [value], f"{node.name}/float/Mul"),
        ]
        node.input[0] = value
        place = list(graph.node).index(node)
        for step, added in enumerate(spelled_out):
            graph.node.insert(place + step, added)
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] not in used]:
        graph.node.remove(node)
