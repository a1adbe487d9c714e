"""Ranks layers by what quantising each of them alone costs, compared with the float model."""

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.inference.onnx_session import open_session
from edge.inference.probabilities import FloatArray, log_softmax
from export.graph import INPUT
from export.quantization.activation_ranges import Observed
from export.quantization.quantize import WEIGHTED_OPS, Plan, Rounded, body, quantise


def units(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """The body's nodes in units that are left in float together: a weighted layer and the unweighted nodes after it."""
    parts: list[list[str]] = []
    for node in body(model):
        if node.op_type in WEIGHTED_OPS or not parts:
            parts.append([])
        parts[-1].append(node.name)
    return [tuple(part) for part in parts]


def by_damage(
    model: onnx.ModelProto, observed: dict[str, Observed], images: NDArray[np.uint8], plan: Plan, rounded: Rounded
) -> list[tuple[float, tuple[str, ...]]]:
    """(mean Kullback-Leibler divergence of the labels' probabilities, unit), most damaging first."""
    reference = _log_probabilities(model, images)
    everything = units(model)
    damage = []
    for unit in everything:
        others = tuple(name for part in everything if part != unit for name in part)
        logs = _log_probabilities(quantise(model, observed, replace(plan, float_nodes=others), rounded), images)
        damage.append((float((np.exp(reference) * (reference - logs)).sum(axis=1).mean()), unit))
    return sorted(damage, key=lambda entry: -entry[0])


def _log_probabilities(model: onnx.ModelProto, images: NDArray[np.uint8]) -> FloatArray:
    session = open_session(model.SerializeToString())
    return log_softmax(np.concatenate([session.run(["logits"], {INPUT: image[None]})[0] for image in images]))
