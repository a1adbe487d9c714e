"""Bias correction: subtracts from a layer's bias the shift of its mean output that rounding its weights causes.

The shift is computed from the mean of the layer's inputs on calibration images (Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction"); padding at the borders is neglected.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.graph_edits import attributes
from export.quantization.rounding import nearest


def correct_bias(
    model: onnx.ModelProto,
    input_means: Mapping[str, NDArray[np.float64]],
    names: set[str],
    rounded: Mapping[str, NDArray[np.float64]],
) -> None:
    """Correct the biases of the convolutions `names` in place.

    `input_means` holds the channel means float64[C] of tensors, by name; `rounded` the rounded weights, by name, where
    they are not simply rounded to the nearest.
    """
    constants = {initializer.name: initializer for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.name not in names or len(node.input) < 3 or node.input[0] not in input_means:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        bias = constants[node.input[2]]
        groups = attributes(node).get("group", 1)
        means = input_means[node.input[0]].reshape(groups, -1)
        error = rounded.get(node.input[1], nearest(weight)) - weight
        by_group = error.reshape(groups, len(weight) // groups, means.shape[1], -1).sum(axis=3)
        shift = np.einsum("goi,gi->go", by_group, means).reshape(-1)
        corrected = (numpy_helper.to_array(bias) - shift).astype(np.float32)
        bias.CopyFrom(numpy_helper.from_array(corrected, bias.name))
