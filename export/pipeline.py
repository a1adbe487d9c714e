"""Float model -> int8 model with its proof: quantise, calibrate, gate, and fall back to float layers where needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.card import Calibration, Card, Gate
from edge.decide import Decider
from edge.look import familiarity
from edge.card import Rejection
from edge.model import Outputs
from export import ExportError
from export.calibrate import Prior, bias_array, cross_validated, fit_calibration
from export.gate import Answers, failures, measure, table
from export.judge import judge
from export.looks import Looks, calibration_pixels, take_looks
from export.package import opened
from export.quantize import Plan, body, quantise_observed, watched
from export.ranges import observe
from export.scenes import Scene, balanced, split_scenes
from export.sensitivity import by_damage

CALIBRATION_SCENES = 128
SENSITIVITY_PICTURES = 32
SEED = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be exported, and on which data it has to prove itself."""

    model: onnx.ModelProto
    """Float."""
    card: Card
    """With a provisional calibration."""
    prior: Prior
    scenes: Sequence[Scene]
    """All labelled frames."""
    held_out: Sequence[Scene] | None
    """For the gate; `None`: whole groups of `scenes` that the ranges did not see."""
    data: str
    """Name of the data, for the card."""
    fraction: float
    """Side of the second look's region."""
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """A quantised model that passed."""

    model: onnx.ModelProto
    card: Card


def export_int8(task: Task, plan: Plan, say: Callable[[str], None]) -> Result:
    """Quantise until the gate passes. Raises `ExportError` with the gate's table when it does not."""
    for_ranges, rest = split_scenes(task.scenes, 0.34, SEED)
    held_out = list(task.held_out) if task.held_out is not None else rest
    chosen = balanced(for_ranges, CALIBRATION_SCENES, SEED)
    with opened(task.model, task.card) as float_model:
        pictures = calibration_pixels(float_model, chosen, task.fraction)
        float_looks = take_looks(float_model, held_out, task.fraction)
    say(f"ranges from {len(chosen)} frames ({len(pictures)} pictures with second looks), gate on {len(held_out)} frames")
    observed = observe(task.model, watched(task.model, body(task.model)), pictures)

    def attempt(plan: Plan) -> tuple[onnx.ModelProto, Calibration, Gate]:
        quantised = quantise_observed(task.model, observed, plan)
        with opened(quantised, task.card) as model:
            looks = take_looks(model, held_out, task.fraction)
        calibration = fit_calibration(task.card, looks, held_out, task.prior, task.fraction, task.data)
        gate = prove(task, calibration, held_out, float_looks, looks, plan.float_nodes)
        return quantised, calibration, gate

    quantised, calibration, gate = attempt(plan)
    reasons = failures(gate)
    if reasons:
        say(f"all layers in int8: {reasons[0]}")
        say("looking for the layers that suffer most")
        step = max(1, len(pictures) // SENSITIVITY_PICTURES)
        ranked = by_damage(task.model, observed, pictures[::step], plan)
        count = 1
        while reasons and count < len(ranked) // 2:
            left = tuple(name for _, unit in ranked[:count] for name in unit)
            quantised, calibration, gate = attempt(plan.with_float(left))
            reasons = failures(gate)
            say(f"{count} layers in float ({', '.join(unit[0] for _, unit in ranked[:count])}): {reasons[0] if reasons else 'passed'}")
            count = count + 1 if count < 4 else count * 2
    if reasons:
        raise ExportError(f"the int8 model is refused: {'; '.join(reasons)}\n{table(gate)}")
    card = replace(task.card, calibration=calibration, gate=gate)
    return Result(quantised, card)


def prove(
    task: Task, calibration: Calibration, scenes: Sequence[Scene], float_: Looks, int8: Looks, float_nodes: tuple[str, ...]
) -> Gate:
    """Both models under the same calibration."""
    blank = np.array([label.kind == "blank" for label in task.card.labels])
    decider = Decider(replace(task.card, calibration=calibration))

    def answers(looks: Looks) -> Answers:
        bias = bias_array(task.card, calibration.label_bias)
        logs = looks.calibrated(bias, calibration.temperature, calibration.second_look, blank)
        energies = familiarity(Outputs(looks.first, None, None), Rejection("energy", 0.0))
        return Answers(logs, [decider.decide(row) for row in logs], np.array(energies, np.float32))

    return measure(task.card, scenes, answers(float_), answers(int8), task.limits, task.data, float_nodes)


__all__ = ["Result", "Task", "cross_validated", "export_int8", "judge"]
