"""Weight-only quantisation: stores weights in int8, a quarter of the bytes, and computes in float.

A Cast and a Mul turn them back into floats, which the runtime computes once, when it loads the model; it would compute
a DequantizeLinear again for each image.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALL = 4096  # rounding a weight with fewer elements saves too little
LIMIT = 127


def store_as_int8(model: onnx.ModelProto, op_types: Sequence[str]) -> None:
    """Store the float weights of nodes of `op_types` as int8, with one scale for each output channel, in place."""
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
    """Axis of the weight along which the node's output channels lie."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if node.op_type == "Gemm" and transposed(node) else 1


def transposed(node: onnx.NodeProto) -> bool:
    """Whether the outputs of a Gemm lie along the first axis of its weight."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
