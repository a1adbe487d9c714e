"""Weights stored in eight bits and widened once, when the model is loaded: a quarter of the bytes, float arithmetic.

The widening is a Cast and a Mul, which the runtime computes when it loads the model; a DequantizeLinear it would
compute again for each picture.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALL = 4096  # a weight with fewer elements is not worth the rounding
LIMIT = 127


def narrow_weights(model: onnx.ModelProto, op_types: Sequence[str]) -> None:
    """Store the float weights of nodes of `op_types` as int8, one scale for each output channel."""
    graph = model.graph
    users: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if node.op_type in op_types:
            for name in node.input[:2]:
                users.setdefault(name, node)
    widening = []
    for weight in [initializer for initializer in graph.initializer if initializer.name in users]:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < SMALL or values.ndim < 2:
            continue
        axis = _output_axis(users[weight.name])
        others = tuple(other for other in range(values.ndim) if other != axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / LIMIT
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        name = weight.name
        graph.initializer.remove(weight)
        graph.initializer.append(numpy_helper.from_array(np.round(values / scale).astype(np.int8), f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        cast = helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], f"{name}/Cast", to=TensorProto.FLOAT)
        multiply = helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name], f"{name}/widened")
        widening += [cast, multiply]
    for place, node in enumerate(widening):
        graph.node.insert(place, node)


def _output_axis(node: onnx.NodeProto) -> int:
    """Axis of the weight that counts the node's output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if node.op_type == "Gemm" and transposed(node) else 1


def transposed(node: onnx.NodeProto) -> bool:
    """Whether a Gemm's weight counts its outputs on the first axis."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
