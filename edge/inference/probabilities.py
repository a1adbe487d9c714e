"""Logarithms of probabilities: softmax, sums, and the mean over the frames of an event."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LEAST_LOG_PROBABILITY = -30.0
"""Where an average counts a frame's log-probability from; float16 holds minus infinity for what was never likely."""
_AVERAGED_AT_ONCE = 1000  # an event may last for weeks, and memory is short


def log_softmax(logits: FloatArray, temperature: float = 1.0) -> FloatArray:
    """Natural logarithm of softmax(logits / temperature) over the last axis, float32[..., L]."""
    scaled = logits / np.float32(temperature)
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    return as_float32(scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True)))


def logsumexp(logs: NDArray[Any]) -> Any:
    """Logarithm of the sum of exp(logs) over the last axis, in the precision of `logs`."""
    top = logs.max(axis=-1, keepdims=True)
    return top[..., 0] + np.log(np.exp(logs - top).sum(axis=-1))


def pool(log_probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean of N frames' log-probabilities float[N, L] as float64[L] whose probabilities sum to one again."""
    total = np.zeros(log_probabilities.shape[1])
    for start in range(0, len(log_probabilities), _AVERAGED_AT_ONCE):
        rows = log_probabilities[start : start + _AVERAGED_AT_ONCE].astype(np.float64)
        total += np.maximum(rows, LEAST_LOG_PROBABILITY).sum(axis=0)
    mean = total / len(log_probabilities)
    return np.asarray(mean - logsumexp(mean), np.float64)


def as_float32(values: Any) -> FloatArray:
    """The values as float32, copied only where they are of another type."""
    array: FloatArray = np.asarray(values, np.float32)
    return array
