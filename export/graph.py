"""Traces a checkpoint into a float ONNX graph whose input is the bytes of an image.

`pixels` uint8[N, H, W, 3] -> Transpose -> DequantizeLinear(scale 1/128, zero point 127) -> network. After quantisation
the DequantizeLinear feeds the first convolution directly, so that the image itself is the quantised input.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export import ExportError
from train.model.checkpoint import Checkpoint
from train.model.network import Network, Outputs

OPSET = 18  # ONNX Runtime 1.17 reads up to 20; nothing here needs more than 18
IR_VERSION = 8  # the newest that ONNX Runtime 1.17 is sure to read with opset 18
SCALE, ZERO_POINT = 1 / 128, 127
INPUT, NETWORK_INPUT = "pixels", "normalised"
OUTPUTS = ("logits", "embedding", "attention")


def float_graph(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Trace the network in float: dynamic batch, BatchNorm folded, no training layers left.

    Raises `ExportError` when the network cannot be traced, `CheckpointError` when its weights do not fit.
    """
    network = checkpoint.build_network()
    images = torch.zeros(2, 3, checkpoint.input_height_px, checkpoint.input_width_px)
    model = _trace(network, images)
    _strip(model)
    _unfold_groups(model)
    _name_nodes(model)
    _take_bytes(model, checkpoint.input_height_px, checkpoint.input_width_px)
    _declare_outputs(model, network(images))
    onnx.checker.check_model(model, full_check=True)
    return model


def normalise(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8[N, H, W, 3] -> float32[N, 3, H, W], as the graph's first two nodes compute it."""
    return ((pixels.astype(np.float32) - ZERO_POINT) * np.float32(SCALE)).transpose(0, 3, 1, 2)


def _trace(network: Network, images: torch.Tensor) -> onnx.ModelProto:
    with _quiet_exporter(), torch.no_grad():
        try:
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[NETWORK_INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
        except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
            raise ExportError(
                f"the network {network.spec.backbone} cannot be traced ({_first_line(error)}); choose another backbone"
            ) from error
        assert program is not None
        model: onnx.ModelProto = program.model_proto
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the warnings of PyTorch's exporter, which are about its own future versions."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _strip(model: onnx.ModelProto) -> None:
    """Remove what names the exporting machine (stack traces, paths) or repeats what shape inference finds."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edge-classify", "", ""
    model.graph.name = "network"
    model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    del model.functions[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _unfold_groups(model: onnx.ModelProto) -> None:
    """Store the label that each class counts for as one number a class, in place of the exporter's matrix.

    The runtime computes the matrix when it loads the model.
    """
    for matrix in [initializer for initializer in model.graph.initializer if initializer.data_type == TensorProto.BOOL]:
        members = numpy_helper.to_array(matrix)
        if members.ndim != 2 or (members.sum(axis=1) > 1).any():
            continue
        label = np.where(members.any(axis=1), members.argmax(axis=1), -1).astype(np.int32)[:, None]
        model.graph.initializer.remove(matrix)
        model.graph.initializer.append(numpy_helper.from_array(label, "label_of_class"))
        model.graph.initializer.append(numpy_helper.from_array(np.arange(members.shape[1], dtype=np.int32), "labels"))
        model.graph.node.insert(0, helper.make_node("Equal", ["label_of_class", "labels"], [matrix.name]))


def _name_nodes(model: onnx.ModelProto) -> None:
    """Name each node by the layer whose weight it holds, so that people recognise the nodes that a card names."""
    weights = {initializer.name for initializer in model.graph.initializer}
    taken: dict[str, int] = {}
    layer = "input"
    for node in model.graph.node:
        held = [name for name in node.input if name in weights and name.endswith((".weight", ".bias", ".weight_bias"))]
        if held:
            layer = held[0].removesuffix("_bias").removesuffix(".weight").removesuffix(".bias")
            name = layer if node.op_type in ("Conv", "Gemm", "MatMul") else f"{layer}/{node.op_type}"
        else:
            name = f"{layer}/{node.op_type}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _take_bytes(model: onnx.ModelProto, height_px: int, width_px: int) -> None:
    graph = model.graph
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", height_px, width_px, 3]))
    graph.initializer.append(numpy_helper.from_array(np.array(SCALE, np.float32), "pixels_scale"))
    graph.initializer.append(numpy_helper.from_array(np.array(ZERO_POINT, np.uint8), "pixels_zero_point"))
    first = [
        helper.make_node("Transpose", [INPUT], ["planes"], "pixels/Transpose", perm=[0, 3, 1, 2]),
        helper.make_node(
            "DequantizeLinear",
            ["planes", "pixels_scale", "pixels_zero_point"],
            [NETWORK_INPUT],
            "pixels/DequantizeLinear",
        ),
    ]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend(first + rest)


def _declare_outputs(model: onnx.ModelProto, example: Outputs) -> None:
    del model.graph.output[:]
    for name, tensor in zip(OUTPUTS, example, strict=True):
        shape: list[str | int] = ["N", *(int(size) for size in tensor.shape[1:])]
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
