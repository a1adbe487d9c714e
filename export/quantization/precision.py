"""Converts a float graph to other precisions than static int8, for machines on which that is not the best."""

import tempfile
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.quantization.weight_only import store_as_int8

Precision = Literal["int8", "dynamic", "weights", "fp16"]


def convert(
    model: onnx.ModelProto, precision: Literal["dynamic", "weights", "fp16"], nodes: Sequence[str]
) -> onnx.ModelProto:
    """The float graph with `nodes` at another precision; outputs stay float32 and the input stays bytes.

    dynamic: int8 weights, activations rounded with ranges measured for each image. weights: int8 weights, float
    arithmetic. fp16: half floats in the whole network, whatever `nodes` says.
    """
    copy = deepcopy(model)
    if precision == "weights":
        store_as_int8(copy, ("Conv", "Gemm", "MatMul"))
    elif precision == "fp16":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights that become zero, which the gate measures
            halved = ONNXModel(convert_float_to_float16(copy, keep_io_types=True, op_block_list=["DequantizeLinear"]))
        halved.topological_sort()
        copy = halved.model
    else:
        copy = _dynamic(copy, nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _dynamic(model: onnx.ModelProto, nodes: Sequence[str]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="edge-classify-") as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            nodes_to_quantize=list(nodes),
            per_channel=False,  # ConvInteger takes a single scale for each weight
            weight_type=QuantType.QUInt8,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        )
        result: onnx.ModelProto = onnx.load(target)
    store_as_int8(result, ("Gemm", "MatMul"))
    return result
