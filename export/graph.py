"""Traces a checkpoint into a float ONNX graph whose input is the bytes of an image.

`pixels` uint8[N, H, W, 3] -> Transpose -> DequantizeLinear(scale 1/128, zero point 127) -> network. After quantisation
the DequantizeLinear feeds the first convolution directly, so that the image itself is the quantised input.
"""

import logging
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from export import ExportError
from export.graph_edits import add_constants, insert
from train import first_line
from train.model.checkpoint import Checkpoint
from train.model.network import Network, Outputs

OPSET = 18  # ONNX Runtime 1.17 reads up to 20; nothing here needs more than 18
IR_VERSION = 8  # the newest that ONNX Runtime 1.17 is sure to read with opset 18
SCALE, ZERO_POINT = 1 / 128, 127
INPUT, NETWORK_INPUT = "pixels", "normalised"
OUTPUTS = ("logits", "embedding", "attention")


def float_graph(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Trace the network in float: dynamic batch, BatchNorm folded, no training layers left.

    Raises `ExportError` when the network cannot be traced, `TrainError` when its weights do not fit.
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


def _trace(network: Network, images: torch.Tensor) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its warnings are about PyTorch's own future versions
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
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
                f"the network {network.spec.backbone} cannot be traced ({first_line(error)}); choose another backbone"
            ) from error
        assert program is not None
        model: onnx.ModelProto = program.model_proto
    return model


def _strip(model: onnx.ModelProto) -> None:
    """Remove what names the exporting machine (stack traces, paths) or repeats what shape inference finds."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "edge-classify", "", ""
    model.graph.name, model.graph.doc_string = "network", ""
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
        labels = np.arange(members.shape[1], dtype=np.int32)
        add_constants(model.graph, {"label_of_class": label, "labels": labels})
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
        name = layer if held and node.op_type in ("Conv", "Gemm", "MatMul") else f"{layer}/{node.op_type}"
        taken[name] = taken.get(name, 0) + 1
        node.name = name if taken[name] == 1 else f"{name}_{taken[name]}"


def _take_bytes(model: onnx.ModelProto, height_px: int, width_px: int) -> None:
    graph = model.graph
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", height_px, width_px, 3]))
    scale, zero_point = np.array(SCALE, np.float32), np.array(ZERO_POINT, np.uint8)
    add_constants(graph, {"pixels_scale": scale, "pixels_zero_point": zero_point})
    transpose = helper.make_node("Transpose", [INPUT], ["planes"], "pixels/Transpose", perm=[0, 3, 1, 2])
    inputs = ["planes", "pixels_scale", "pixels_zero_point"]
    widen = helper.make_node("DequantizeLinear", inputs, [NETWORK_INPUT], "pixels/DequantizeLinear")
    insert(graph, 0, [transpose, widen])


def _declare_outputs(model: onnx.ModelProto, example: Outputs) -> None:
    del model.graph.output[:]
    for name, tensor in zip(OUTPUTS, example, strict=True):
        shape: list[str | int] = ["N", *(int(size) for size in tensor.shape[1:])]
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
