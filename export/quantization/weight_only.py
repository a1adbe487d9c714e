"""Weight-only quantisation: stores weights in int8, a quarter of the bytes, and computes in float.

A Cast and a Mul turn them back into floats, which the runtime computes once, when it loads the model; it would compute
a DequantizeLinear again for each image.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph_edits import add_constants, attributes, insert
from export.quantization.rounding import scales

SMALL = 4096  # rounding a weight with fewer elements saves too little


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
        scale = scales(values, _output_axis(users[weight.name])).astype(np.float32)
        name = weight.name
        graph.initializer.remove(weight)
        add_constants(graph, {f"{name}_int8": np.round(values / scale).astype(np.int8), f"{name}_scale": scale})
        widening += [
            helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], f"{name}/Cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name], f"{name}/widened"),
        ]
    insert(graph, 0, widening)


def _output_axis(node: onnx.NodeProto) -> int:
    """Axis of the weight along which the node's output channels lie."""
    return 0 if node.op_type == "Conv" or transposed(node) else 1


def transposed(node: onnx.NodeProto) -> bool:
    """Whether it is a Gemm whose outputs lie along the first axis of its weight."""
    return bool(attributes(node).get("transB"))
