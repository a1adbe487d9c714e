"""Float model -> int8 model with its proof: quantise, calibrate, run the gate, leave layers in float where needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edge.inference.card import Calibration, Card, Gate, Rejection
from edge.inference.decision import Decider
from edge.inference.frame_classification import familiarity
from edge.inference.model import Model, Outputs
from export import ExportError
from export.model_file import opened
from export.quantization.qat import Tuning, finetune
from export.quantization.quantize import Plan, Rounded, activation_ranges, body, observe_body, quantise
from export.quantization.reproducible_sums import sum_exactly
from export.quantization.rounding import round_weights
from export.quantization.sensitivity import by_damage
from export.validation.calibrate import CalibrationData, Prior, fit_calibration
from export.validation.gate import ModelDecisions, agreement, failures, measure, table
from export.validation.labelled_frames import LabelledFrame, balanced, split_by_group
from export.validation.model_outputs import ModelOutputs, calibration_pixels, take_outputs, take_renderings

RANGE_FRAMES = 128
SENSITIVITY_IMAGES = 32
SEED = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be exported, and the data that it has to prove itself on."""

    model: onnx.ModelProto
    """The float model."""
    card: Card
    """With a provisional calibration."""
    prior: Prior
    frames: Sequence[LabelledFrame]
    """All labelled frames."""
    held_out: Sequence[LabelledFrame] | None
    """Frames for the gate; `None` takes whole groups of `frames` that the activation ranges did not see."""
    data: str
    """Name of the data, for the card."""
    crop_fraction: float
    """Side of the attention crop as a fraction of the frame's shorter side."""
    limits: dict[str, float]
    """See `export.validation.gate.DEFAULT_LIMITS`."""

    @property
    def fitting(self) -> Sequence[LabelledFrame]:
        """Frames that the calibration of an int8 model is fitted on."""
        return self.frames if self.held_out is None else self.held_out


@dataclass(frozen=True, slots=True)
class Result:
    """An int8 model that passed the gate."""

    model: onnx.ModelProto
    card: Card
    """Calibrated, with the gate's figures."""
    gate: Gate
    calibrated_on: CalibrationData


def export_int8(task: Task, plan: Plan, progress: Callable[[str], None], tuning: Tuning | None = None) -> Result:
    """Quantise until the gate passes: all layers; then fine-tuned, where `tuning` is given; then with layers in float.

    Raises `ExportError` with the gate's table when nothing passes.
    """
    for_ranges, rest = split_by_group(task.frames, 0.34, SEED)
    gated = rest if task.held_out is None else task.held_out
    chosen = balanced(for_ranges, RANGE_FRAMES, SEED)
    with opened(task.model, task.card) as float_model:
        pixels = calibration_pixels(float_model, chosen, task.crop_fraction)
        in_float = take_outputs(float_model, task.fitting, task.crop_fraction)
        judged = {frame.path.resolve() for frame in gated}
        others = [frame for frame in tuning.frames if frame.path.resolve() not in judged] if tuning else []
        more = calibration_pixels(float_model, others, task.crop_fraction) if others else pixels[:0]
    progress(f"ranges from {len(chosen)} frames ({len(pixels)} with attention crops), gate on {len(gated)} others")
    network, steps = task.model, 0
    observed = observe_body(network, pixels)
    rounded: Rounded = {}
    if plan.precision == "int8" and plan.rounding == "feedback":
        rounded = round_weights(network, body(network), pixels)

    def attempt(plan: Plan) -> tuple[Result, list[str]]:
        quantised = quantise(network, observed, plan, rounded)
        if plan.precision == "int8":
            sum_exactly(quantised, plan.float_nodes)
        with opened(quantised, task.card) as model:
            data = _calibration_data(task, model, task.fitting)
        calibration = fit_calibration(data, task.data)
        gate = prove(task, calibration, (in_float, data.outputs), gated)
        gate = replace(gate, float_nodes=plan.float_nodes, finetune_steps=steps)
        return Result(quantised, replace(task.card, calibration=calibration, gate=gate), gate, data), failures(gate)

    result, reasons = attempt(plan)
    if reasons:
        progress(f"all layers in int8: {reasons[0]}")
    if reasons and tuning is not None:
        ranges = activation_ranges(observed, plan)
        network = finetune(network, ranges, np.concatenate([pixels, more]), tuning, progress)
        observed = observe_body(network, pixels)
        # Fine-tuning rounded the weights to the nearest and made up for the shift of the mean, so neither is corrected.
        plan, rounded, steps = replace(plan, correct_bias=False), {}, tuning.steps
        result, reasons = attempt(plan)
        progress(f"all layers in int8, fine-tuned: {reasons[0] if reasons else 'passed'}")
    if reasons:
        progress("looking for the layers that lose most in int8")
        step = max(1, len(pixels) // SENSITIVITY_IMAGES)
        ranked = by_damage(network, observed, pixels[::step], plan, rounded)
        count = 1
        while reasons and count < len(ranked) // 2:
            nodes = tuple(name for _, unit in ranked[:count] for name in unit)
            result, reasons = attempt(replace(plan, float_nodes=nodes))
            names = ", ".join(unit[0] for _, unit in ranked[:count])
            progress(f"{count} layers in float ({names}): {reasons[0] if reasons else 'passed'}")
            count = count + 1 if count < 4 else count * 2
    if reasons:
        raise ExportError(f"the int8 model is refused: {'; '.join(reasons)}\n{table(result.gate)}")
    return result


def calibrate_float(task: Task) -> Card:
    """The card of a model that is not quantised, calibrated on all labelled frames."""
    with opened(task.model, task.card) as model:
        data = _calibration_data(task, model, task.frames)
    return replace(task.card, calibration=fit_calibration(data, task.data))


def _calibration_data(task: Task, model: Model, frames: Sequence[LabelledFrame]) -> CalibrationData:
    renderings = take_renderings(model, frames, task.crop_fraction)
    return CalibrationData(task.card, frames, renderings, task.prior, task.crop_fraction)


def prove(
    task: Task, calibration: Calibration, outputs: tuple[ModelOutputs, ModelOutputs], gated: Sequence[LabelledFrame]
) -> Gate:
    """The gate's figures of the float and the int8 model under the same calibration.

    `outputs` are those of both models on the frames that the calibration was fitted on. The gate judges by the `gated`
    ones of these; how often both models agree is measured on all.
    """
    decider = Decider(replace(task.card, calibration=calibration))

    def decisions(outputs: ModelOutputs) -> ModelDecisions:
        logs = outputs.under(task.card, calibration)
        energies = familiarity(Outputs(outputs.whole, None, None), Rejection("energy", 0.0))
        return ModelDecisions(logs, [decider.decide(row) for row in logs], np.array(energies, np.float32))

    before, after = map(decisions, outputs)
    judged = {frame.path for frame in gated}  # by path: images in folders of classes often share their names
    places = np.array([place for place, frame in enumerate(task.fitting) if frame.path in judged])
    frames = [task.fitting[place] for place in places]
    gate = measure(task.card, frames, before.at(places), after.at(places), task.data, task.limits)
    gate.figures["decision_agreement_all"] = agreement(before.decisions, after.decisions)
    return gate
