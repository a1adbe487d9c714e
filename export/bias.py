"""Bias correction: what rounding a layer's weights does to its mean output is taken off its bias.

Analytic, from the mean of the layer's inputs on calibration pictures (Nagel et al. 2019, "Data-Free Quantization
Through Weight Equalization and Bias Correction"; borders, where the kernel sees padding, are left out).
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LIMIT = 127


def correct_bias(model: onnx.ModelProto, input_means: Mapping[str, NDArray[np.float64]], names: set[str]) -> None:
    """Correct the convolutions `names` in place; `input_means` holds float64[C] of each tensor, by its name."""
    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.name not in names or len(node.input) < 3 or node.input[0] not in input_means:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        bias = constants[node.input[2]]
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        means = input_means[node.input[0]].reshape(groups, -1)
        by_group = _rounding_error(weight).reshape(groups, len(weight) // groups, means.shape[1], -1).sum(axis=3)
        shift = np.einsum("goi,gi->go", by_group, means).reshape(-1)
        corrected = (numpy_helper.to_array(bias) - shift).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))


def _rounding_error(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """What symmetric int8 with one scale for each output channel adds to float64[out, ...]."""
    scale = np.abs(weight).max(axis=tuple(range(1, weight.ndim)), keepdims=True) / LIMIT
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.round(weight / scale) * scale - weight)
