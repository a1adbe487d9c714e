"""The same answers on every processor: sums of which none stands on the edge between two roundings.

Products of bytes are integers and come out alike everywhere. Runtimes differ where quantised tensors are added (in
float on x86-64, in fixed point on ARM) and where a float mean is summed in another order: a sum that is nearly half
way between two bytes is then rounded up here and down there, and each byte changes its neighbours behind it
(measured in docs/results.md).
"""

from collections.abc import Collection, Mapping

import onnx
from onnx import TensorProto, helper

Range = tuple[float, float]
PARTS = 1001  # odd, so no fraction with this denominator is a half


def tie_free(model: onnx.ModelProto, quantised: Collection[str], ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, moved by a part in some hundreds, so that no quantised addition stands near a tie.

    Each addend's scale becomes a fraction of the sum's with denominator `PARTS`: whatever the bytes, no sum is then
    nearer to a tie than 1 / (2 `PARTS`) of a step, a hundred times what the runtimes' arithmetic differs by.
    """
    settled = dict(ranges)
    nodes = [node for node in model.graph.node if node.name in quantised]
    # An activation behind a sum is merged with it, and its range counts; a largest byte keeps the scale of its input.
    merged = {node.input[0]: node.output[0] for node in nodes if node.op_type in ("Relu", "Clip")}
    pooled = {node.output[0]: node.input[0] for node in nodes if node.op_type == "MaxPool"}
    for node in reversed(nodes):  # a sum may be an addend further on, which settles it
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
    """Of the range as it is quantised: zero is always in it."""
    return max(range_[1], 0.0) - min(range_[0], 0.0)


def integer_means(model: onnx.ModelProto) -> None:
    """Take means over quantised maps from their bytes, in place: sums of whole numbers know no order."""
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
        place = list(graph.node).index(node)
        behind = [
            helper.make_node("Cast", [zero_point], [zero], f"{node.name}/Cast_2", to=TensorProto.FLOAT),
            helper.make_node("Sub", [integer, zero], [centred], f"{node.name}/Sub"),
            helper.make_node("Mul", [centred, scale], [mean], f"{node.name}/Mul"),
        ]
        for step, added in enumerate(behind, 1):
            graph.node.insert(place + step, added)
        graph.node.insert(
            place, helper.make_node("Cast", [quantised], [wide], f"{node.name}/Cast", to=TensorProto.FLOAT)
        )
