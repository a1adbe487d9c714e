"""Edits the nodes and constants of ONNX graphs in place."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def add_constants(graph: onnx.GraphProto, values: Mapping[str, NDArray[Any]]) -> None:
    """Add constants, by name."""
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())


def insert(graph: onnx.GraphProto, place: int, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes, in their order, at a place among the others."""
    for step, node in enumerate(nodes):
        graph.node.insert(place + step, node)


def replace_node(graph: onnx.GraphProto, node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes, in their order, where `node` was."""
    place = list(graph.node).index(node)
    graph.node.remove(node)
    insert(graph, place, nodes)


def drop_unread_constants(graph: onnx.GraphProto) -> None:
    """Remove the constants that no node reads."""
    read = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a tensor another name, in all nodes."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
