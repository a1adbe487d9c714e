"""Observes the values of each tensor of a float graph and chooses the range that eight bits cover."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge.inference.onnx_session import open_session
from export.graph import INPUT

Method = Literal["minmax", "percentile", "entropy", "mse"]
BINS = 2048
LEVELS = 255
BATCH = 8


@dataclass(frozen=True, slots=True)
class Observed:
    """Values of one tensor over all calibration images."""

    low: float
    high: float
    histogram: NDArray[np.int64]
    """int64[BINS]: number of values in each of the equal bins between `low` and `high`."""
    channel_means: NDArray[np.float64]
    """float64[C]: the mean of each channel (axis 1)."""


def observe(model: onnx.ModelProto, tensors: Sequence[str], images: NDArray[np.uint8]) -> dict[str, Observed]:
    """Run uint8[N, H, W, 3] through the float graph twice: for extremes and means, then for histograms."""
    lows = dict.fromkeys(tensors, np.inf)
    highs = dict.fromkeys(tensors, -np.inf)
    sums: dict[str, NDArray[np.float64]] = {}
    counts = dict.fromkeys(tensors, 0)
    session = open_session(with_outputs(model, tensors).SerializeToString())
    for name, values in _run(session, tensors, images):
        lows[name], highs[name] = min(lows[name], float(values.min())), max(highs[name], float(values.max()))
        axes = tuple(axis for axis in range(values.ndim) if axis != 1)
        sums[name] = sums.get(name, 0.0) + values.sum(axis=axes, dtype=np.float64)
        counts[name] += values.size // max(values.shape[1] if values.ndim > 1 else 1, 1)
    histograms = {name: np.zeros(BINS, np.int64) for name in tensors}
    for name, values in _run(session, tensors, images):
        width = (highs[name] - lows[name]) or 1.0
        bins = ((values.ravel() - np.float32(lows[name])) * np.float32(BINS / width)).astype(np.int64)
        histograms[name] += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
    return {
        name: Observed(lows[name], highs[name], histograms[name], np.atleast_1d(sums[name] / counts[name]))
        for name in tensors
    }


def choose(observed: Observed, method: Method, percentile: float = 99.99) -> tuple[float, float]:
    """The range that eight bits cover; it always includes zero.

    minmax: all observed values. percentile: all but the outermost (100 - `percentile`) / 2 percent at each end.
    entropy: the clipping whose quantised histogram keeps most information (Kullback-Leibler, like TensorRT's
    calibration). mse: the clipping with the least squared error.
    """
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if method == "minmax" or observed.high <= observed.low:
        return low, high
    edges = np.linspace(observed.low, observed.high, BINS + 1)
    if method == "percentile":
        share = np.cumsum(observed.histogram) / observed.histogram.sum()
        tail = (100.0 - percentile) / 200.0
        first, last = int(np.searchsorted(share, tail)), int(np.searchsorted(share, 1.0 - tail))
        return min(float(edges[first]), 0.0), max(float(edges[min(last, BINS - 1) + 1]), 0.0)
    centres = (edges[:-1] + edges[1:]) / 2
    cost = _divergence if method == "entropy" else _squared_error
    shrinks = [(1.0 - cut) for cut in np.linspace(0.0, 0.7, 71)]
    # An end at zero stays at zero: only the side that has values is shrunk.
    candidates = [(low * a, high) for a in (shrinks if low < 0 else [1.0])]
    best_low = min(candidates, key=lambda c: cost(observed.histogram, centres, *c))[0]
    candidates = [(best_low, high * b) for b in (shrinks if high > 0 else [1.0])]
    return min(candidates, key=lambda c: cost(observed.histogram, centres, *c))


def _squared_error(histogram: NDArray[np.int64], centres: NDArray[np.float64], low: float, high: float) -> float:
    step = (high - low) / LEVELS
    rounded = low + np.round((np.clip(centres, low, high) - low) / step) * step
    inside = (centres >= low) & (centres <= high)
    # Values are spread evenly within a bin, so rounding costs step^2 / 12 wherever the bin's centre lies.
    errors = np.where(inside, step**2 / 12, (centres - rounded) ** 2)
    return float((histogram * errors).sum())


def _divergence(histogram: NDArray[np.int64], centres: NDArray[np.float64], low: float, high: float) -> float:
    clipped = np.clip(centres, low, high)
    levels = np.round((clipped - low) / ((high - low) / LEVELS)).astype(np.int64)
    p = histogram.astype(np.float64)
    inside = (centres >= low) & (centres <= high)
    reference = np.where(inside, p, 0.0)
    first, last = np.flatnonzero(inside)[[0, -1]]
    reference[first] += p[:first].sum()
    reference[last] += p[last + 1 :].sum()
    occupied = (p > 0) & inside
    mass = np.bincount(levels[inside], np.where(inside, p, 0.0)[inside], LEVELS + 1)
    members = np.bincount(levels[occupied], minlength=LEVELS + 1)
    q = np.where(occupied, mass[levels] / np.maximum(members[levels], 1), 0.0)
    both = (reference > 0) & (q > 0)
    missing = reference[(reference > 0) & ~both].sum() / p.sum()
    a, b = reference[both] / reference.sum(), q[both] / q.sum()
    return float((a * np.log(a / b)).sum() + missing)


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The same graph with these float tensors as its outputs."""
    watched = deepcopy(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    return watched


def _run(session: Any, tensors: Sequence[str], images: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for start in range(0, len(images), BATCH):
        yield from zip(tensors, session.run(list(tensors), {INPUT: images[start : start + BATCH]}), strict=True)
