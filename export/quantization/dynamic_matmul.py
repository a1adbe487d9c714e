"""Dynamic quantisation of matrix products: int8 weights, activations rounded with a range measured for each image.

A classifier of a thousand classes and a thousand features is little work, but in float it is five megabytes that a
small processor reads from memory for each image; int8 needs a quarter of that.
"""

import onnx
from onnx import TensorProto, helper

from export.graph_edits import attributes, replace_node
from export.quantization.weight_only import transposed


def quantise_products(model: onnx.ModelProto) -> None:
    """Replace the products whose weights `store_as_int8` has stored in int8, in place."""
    graph = model.graph
    shapes = {initializer.name: tuple(initializer.dims) for initializer in graph.initializer}
    for node in [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]:
        weight = node.input[1]
        if f"{weight}_int8" not in shapes or not _is_plain(node):
            continue
        replace_node(graph, node, _products(node, weight, shapes[f"{weight}_scale"]))
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "Mul" and node.name.endswith("/widened")]:
        if node.output[0] not in used:  # no node reads the float weight any more
            cast = next(other for other in graph.node if node.input[0] in other.output)
            graph.node.remove(node)
            graph.node.remove(cast)


def _is_plain(node: onnx.NodeProto) -> bool:
    given = attributes(node)
    return given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA")


def _products(node: onnx.NodeProto, weight: str, scale_shape: tuple[int, ...]) -> list[onnx.NodeProto]:
    """The nodes that replace `node`.

    The weight's scale is applied before the product where it runs along the summed axis, after it where it runs along
    the outputs.
    """
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, inputs: list[str], outputs: int = 1, last: str = "", **attributes: int) -> list[str]:
        name = f"{node.name}/{operator}_{len(nodes)}"
        names = [last] if last else [f"{name}_{number}" for number in range(outputs)]
        nodes.append(helper.make_node(operator, inputs, names, name, **attributes))  # type: ignore[arg-type]
        return names

    integers, scale = f"{weight}_int8", f"{weight}_scale"
    flipped = transposed(node)
    counts_outputs = scale_shape[0 if flipped else 1] > 1
    if flipped:
        integers = add("Transpose", [integers])[0]
        scale = add("Transpose", [scale])[0]
    values = node.input[0]
    if not counts_outputs:
        values = add("Mul", [values, scale if flipped else add("Transpose", [scale])[0]])[0]
    rounded, step, zero = add("DynamicQuantizeLinear", [values], 3)
    wide = add("Cast", add("MatMulInteger", [rounded, integers, zero]), to=TensorProto.FLOAT)[0]
    factor = add("Mul", [step, scale])[0] if counts_outputs else step
    biased = node.op_type == "Gemm" and len(node.input) > 2
    product = add("Mul", [wide, factor], last="" if biased else node.output[0])
    if biased:
        add("Add", [*product, node.input[2]], last=node.output[0])
    return nodes
