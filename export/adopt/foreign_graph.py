"""Puts nodes before an ONNX model made elsewhere, which turn the bytes of an image into the input that it expects."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, version_converter

from edge.inference.onnx_session import open_session
from export import ExportError
from export.graph import INPUT, IR_VERSION
from export.graph_edits import add_constants, insert, rename

LEAST_OPSET = 13  # the first with scales for each channel
CONVERTED_OPSET = 17
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}


@dataclass(frozen=True, slots=True)
class Expectation:
    """Input that the model expects: `(pixel / scale - mean) / std`, in its own order of channels and axes."""

    layout: Literal["nchw", "nhwc"]
    channels: Literal["rgb", "bgr"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """In the model's order of channels, like `mean`."""


def take_bytes(model: onnx.ModelProto, expected: Expectation, height_px: int, width_px: int) -> onnx.ModelProto:
    """The model with `pixels` uint8[N, H, W, 3], RGB, as its input. Raises `ExportError`."""
    result = _modern(model)
    graph = result.graph
    own = _image_input(graph)
    kind = own.type.tensor_type.elem_type
    if kind not in _FLOATS | {TensorProto.UINT8}:
        raise ExportError(f"the model's input {own.name} holds neither floats nor bytes; expected one of them")
    _check_size(own, expected, height_px, width_px)
    names = [INPUT]
    nodes: list[onnx.NodeProto] = []

    def add(operator: str, constants: dict[str, NDArray[np.generic]], **attributes: Any) -> None:
        add_constants(graph, constants)
        names.append(f"adopted/{operator}_{len(nodes)}")
        nodes.append(helper.make_node(operator, [names[-2], *constants], [names[-1]], names[-1], **attributes))

    if expected.layout == "nchw":
        add("Transpose", {}, perm=[0, 3, 1, 2])
    axis = 1 if expected.layout == "nchw" else 3
    if expected.channels == "bgr":
        add("Gather", {"adopted/order": np.array([2, 1, 0], np.int64)}, axis=axis)
    if kind != TensorProto.UINT8:
        scale, zero = np.array(1 / expected.scale, np.float32), np.array(0, np.uint8)
        add("DequantizeLinear", {"adopted/scale": scale, "adopted/zero": zero})
        shape = (1, 3, 1, 1) if expected.layout == "nchw" else (1, 1, 1, 3)
        if any(expected.mean):
            add("Sub", {"adopted/mean": np.array(expected.mean, np.float32).reshape(shape)})
        if any(value != 1 for value in expected.std):
            add("Div", {"adopted/std": np.array(expected.std, np.float32).reshape(shape)})
    if kind == TensorProto.FLOAT16:
        add("Cast", {}, to=TensorProto.FLOAT16)
    nodes[-1].output[0] = own.name
    graph.input.remove(own)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", height_px, width_px, 3]))
    insert(graph, 0, nodes)
    _name_nodes(graph)
    _free_batch(result, height_px, width_px)
    return result


def give_logits(model: onnx.ModelProto, output: str | None, labels: int, probabilities: bool | None) -> None:
    """Rename the scores to `logits`, in place; where they are probabilities, take their logarithm first.

    With `probabilities` `None`, the scores of a grey image show whether they are probabilities. Raises `ExportError`
    when the output is not one score for each label.
    """
    graph = model.graph
    name = _chosen_output(graph, output)
    scores = _run_once(model, name)
    if scores.ndim != 2 or scores.shape[1] != labels:
        raise ExportError(
            f"the model's output {name} has shape {list(scores.shape)} and the table has {labels} labels; expected one "
            "score for each label"
        )
    if probabilities is None:
        probabilities = bool((scores >= 0).all() and abs(float(scores.sum()) - 1) < 1e-3)
    rename(graph, name, "adopted/scores")
    if probabilities:
        add_constants(graph, {"adopted/least": np.array(1e-12, np.float32)})
        inputs = ["adopted/scores", "adopted/least"]
        graph.node.append(helper.make_node("Max", inputs, ["adopted/positive"], "adopted/Max"))
        graph.node.append(helper.make_node("Log", ["adopted/positive"], ["logits"], "adopted/Log"))
    else:
        graph.node.append(helper.make_node("Identity", ["adopted/scores"], ["logits"], "adopted/Identity"))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", labels]))


def give_detections(model: onnx.ModelProto, output: str | None, layout: str, labels: int) -> None:
    """Rename the boxes to `detections`, in place. Raises `ExportError` when their shape is not the layout's."""
    graph = model.graph
    name = _chosen_output(graph, output)
    shape = _run_once(model, name).shape
    columns = {"yolov5": (2, 5 + labels), "yolov9": (1, 4 + labels), "yolov10": (2, 6), "rtdetr": (2, 4 + labels)}
    axis, wanted = columns[layout]
    if len(shape) != 3 or shape[axis] != wanted:
        raise ExportError(
            f"the model's output {name} has shape {list(shape)}; {layout} with {labels} labels has {wanted} columns on "
            f"axis {axis}; check --boxes and the label table"
        )
    rename(graph, name, "adopted/boxes")
    graph.node.append(helper.make_node("Identity", ["adopted/boxes"], ["detections"], "adopted/Identity"))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["N", *map(int, shape[1:])]))


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    result = deepcopy(model)
    if opset < LEAST_OPSET:
        try:
            result = version_converter.convert_version(result, CONVERTED_OPSET)
        except RuntimeError as error:
            raise ExportError(
                f"the model's opset {opset} cannot be raised to {CONVERTED_OPSET} ({error}); export it anew"
            ) from error
    result.ir_version = max(result.ir_version, IR_VERSION)
    constants = {initializer.name for initializer in result.graph.initializer}
    for entry in [entry for entry in result.graph.input if entry.name in constants]:
        result.graph.input.remove(entry)  # old files list their weights as inputs
    del result.graph.value_info[:]
    return result


def _image_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    images: list[onnx.ValueInfoProto] = [entry for entry in graph.input if len(entry.type.tensor_type.shape.dim) == 4]
    if len(graph.input) != 1 or len(images) != 1:
        names = ", ".join(entry.name for entry in graph.input)
        raise ExportError(f"the model has the inputs {names}; expected a single one with four axes")
    return images[0]


def _check_size(own: onnx.ValueInfoProto, expected: Expectation, height_px: int, width_px: int) -> None:
    sizes = [axis.dim_value for axis in own.type.tensor_type.shape.dim]
    wanted = (3, height_px, width_px) if expected.layout == "nchw" else (height_px, width_px, 3)
    if any(size > 0 and size != want for size, want in zip(sizes[1:], wanted, strict=True)):
        raise ExportError(
            f"the model's input has shape {sizes}, --input and --layout ask for [N, {', '.join(map(str, wanted))}]; "
            "correct --input or --layout"
        )


def _free_batch(model: onnx.ModelProto, height_px: int, width_px: int) -> None:
    for entry in model.graph.output:
        if entry.type.tensor_type.shape.dim:
            entry.type.tensor_type.shape.dim[0].dim_param = "N"
    try:
        session = open_session(model.SerializeToString())
        session.run(None, {INPUT: np.zeros((2, height_px, width_px, 3), np.uint8)})
    except Exception as error:  # the runtime's exception types share no public base
        reason = " ".join(str(error).split())[:160]
        raise ExportError(
            f"the model does not run on a batch of two ({reason}); export it with a dynamic batch"
        ) from error


def _chosen_output(graph: onnx.GraphProto, output: str | None) -> str:
    names = [entry.name for entry in graph.output]
    if output is not None and output not in names:
        raise ExportError(f"the model has no output {output!r}, expected one of {', '.join(names)}")
    return names[0] if output is None else output


def _run_once(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    """The output `name` for one grey image."""
    session = open_session(model.SerializeToString())
    shape = session.get_inputs()[0].shape[1:]
    return np.asarray(session.run([name], {INPUT: np.full((1, *shape), 127, np.uint8)})[0])


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, so that the gate can name it."""
    taken: set[str] = set()
    for place, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}"
        taken.add(node.name)
