"""Rounding of a layer's weights to eight bits such that its output changes least, not each weight by itself.

Column by column, the error of the weights rounded so far is made good by those not rounded yet, weighted with the
covariance of the layer's inputs (Frantar et al. 2022, "GPTQ"; Hubara et al. 2021, "Accurate Post Training
Quantization with Small Calibration Sets"). The mean error that remains goes into the bias.
"""

import numpy as np
from numpy.typing import NDArray

LIMIT = 127
_DAMPING = 0.01
Array = NDArray[np.float64]


def round_layer(weight: NDArray[np.float32], scale: NDArray[np.float32], covariance: Array) -> NDArray[np.int8]:
    """int8[out, ...] for float32[out, in / groups, ...].

    `scale` is float32[out]; `covariance` is float64[G, K, K] of the K inputs that each of the G groups of outputs sees.
    """
    flat = weight.reshape(len(covariance), len(weight) // len(covariance), -1).astype(np.float64)
    scales = scale.reshape(len(covariance), -1).astype(np.float64)
    inverse_root = _upper_root_of_inverse(covariance)
    result = np.zeros_like(flat)
    for column in range(flat.shape[2]):
        rounded = np.clip(np.round(flat[:, :, column] / scales), -LIMIT, LIMIT)
        result[:, :, column] = rounded
        error = (flat[:, :, column] - rounded * scales) / inverse_root[:, column, column][:, None]
        flat[:, :, column + 1 :] -= error[:, :, None] * inverse_root[:, None, column, column + 1 :]
    return result.reshape(weight.shape).astype(np.int8)


def _upper_root_of_inverse(covariance: Array) -> Array:
    """Upper triangular U with U^T U = (covariance + damping)^-1, for each group."""
    size = covariance.shape[-1]
    diagonal = np.einsum("gkk->gk", covariance)
    damping = _DAMPING * diagonal.mean(axis=1) + 1e-12
    damped = covariance + damping[:, None, None] * np.eye(size)
    return np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2)
