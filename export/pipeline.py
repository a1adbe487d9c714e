"""Float model -> int8 model with its proof: quantise, calibrate, gate, and fall back to float layers where needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edge.inference.card import Calibration, Card, Gate, Rejection
from edge.inference.decision import Decider
from edge.inference.frame_classification import familiarity
from edge.inference.model import Outputs
from export import ExportError
from export.model_file import opened
from export.quantization.activation_ranges import observe
from export.quantization.qat import Tuning, finetune
from export.quantization.quantize import Plan, Rounded, activation_ranges, body, quantise_observed, watched
from export.quantization.reproducible_sums import sum_exactly
from export.quantization.rounding import round_weights
from export.quantization.sensitivity import by_damage
from export.validation.calibrate import Prior, fit_calibration
from export.validation.gate import Decisions, failures, measure, table
from export.validation.labelled_frames import LabelledFrame, balanced, split_scenes
from export.validation.model_outputs import ModelOutputs, calibration_pixels, is_scaled, take_outputs

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
    scenes: Sequence[LabelledFrame]
    """All labelled frames."""
    held_out: Sequence[LabelledFrame] | None
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
    """Calibrated, with the gate's figures."""
    frames: list[LabelledFrame]
    """Those that it was calibrated on."""
    looks: ModelOutputs
    """At `frames`."""
    in_full: tuple[ModelOutputs, ...]
    """At the same frames with every pixel decoded; empty where the device decodes every pixel."""

    @property
    def gate(self) -> Gate:
        """The proof, which a result always has."""
        assert self.card.gate is not None
        return self.card.gate


def export_int8(task: Task, plan: Plan, say: Callable[[str], None], tuning: Tuning | None = None) -> Result:
    """Quantise until the gate passes: all layers, then fine-tuned where `tuning` is given, then with layers in float.

    Raises `ExportError` with the gate's table when nothing passes.
    """
    for_ranges, rest = split_scenes(task.scenes, 0.34, SEED)
    frames = list(task.scenes if task.held_out is None else task.held_out)
    gated = frames if task.held_out is not None else rest
    chosen = balanced(for_ranges, CALIBRATION_SCENES, SEED)
    with opened(task.model, task.card) as float_model:
        pictures = calibration_pixels(float_model, chosen, task.fraction)
        float_looks = take_outputs(float_model, frames, task.fraction)
        scaled = is_scaled(float_model, frames, task.fraction)
        judged = {scene.path.resolve() for scene in gated}
        others = [scene for scene in tuning.scenes if scene.path.resolve() not in judged] if tuning else []
        more = calibration_pixels(float_model, others, task.fraction) if others else pictures[:0]
    say(f"ranges from {len(chosen)} frames ({len(pictures)} pictures with second looks), gate on {len(gated)} others")
    network, steps = task.model, 0
    observed = observe(network, watched(network, body(network)), pictures)
    rounded: Rounded = {}
    if plan.precision == "int8" and plan.rounding == "feedback":
        rounded = round_weights(network, body(network), pictures)

    def attempt(plan: Plan) -> Result:
        quantised = quantise_observed(network, observed, plan, rounded)
        if plan.precision == "int8":
            sum_exactly(quantised, plan.float_nodes)
        with opened(quantised, task.card) as model:
            looks = take_outputs(model, frames, task.fraction)
            in_full = [take_outputs(model, frames, task.fraction, in_full=True)] if scaled else []
        calibration = fit_calibration(task.card, looks, frames, task.prior, task.fraction, task.data, in_full)
        gate = prove(task, calibration, frames, gated, float_looks, looks, plan.float_nodes)
        gate = replace(gate, finetune_steps=steps)
        return Result(quantised, replace(task.card, calibration=calibration, gate=gate), frames, looks, tuple(in_full))

    result = attempt(plan)
    reasons = failures(result.gate)
    if reasons:
        say(f"all layers in int8: {reasons[0]}")
    if reasons and tuning is not None:
        ranges = activation_ranges(observed, plan)
        network = finetune(network, ranges, np.concatenate([pictures, more]), tuning, say)
        observed = observe(network, watched(network, body(network)), pictures)
        # It has learnt with weights rounded to the nearest, and the rounding's shift.
        plan, rounded, steps = replace(plan, correct_bias=False), {}, tuning.steps
        result = attempt(plan)
        reasons = failures(result.gate)
        say(f"all layers in int8, fine-tuned: {reasons[0] if reasons else 'passed'}")
    if reasons:
        say("looking for the layers that suffer most")
        step = max(1, len(pictures) // SENSITIVITY_PICTURES)
        ranked = by_damage(network, observed, pictures[::step], plan, rounded)
        count = 1
        while reasons and count < len(ranked) // 2:
            left = tuple(name for _, unit in ranked[:count] for name in unit)
            result = attempt(plan.with_float(left))
            reasons = failures(result.gate)
            names = ", ".join(unit[0] for _, unit in ranked[:count])
            say(f"{count} layers in float ({names}): {reasons[0] if reasons else 'passed'}")
            count = count + 1 if count < 4 else count * 2
    if reasons:
        raise ExportError(f"the int8 model is refused: {'; '.join(reasons)}\n{table(result.gate)}")
    return result


def calibrate_float(task: Task) -> Card:
    """The card of a model that stays as it is, with thresholds fitted on all its labelled frames."""
    with opened(task.model, task.card) as model:
        looks = take_outputs(model, task.scenes, task.fraction)
        scaled = is_scaled(model, task.scenes, task.fraction)
        in_full = [take_outputs(model, task.scenes, task.fraction, in_full=True)] if scaled else []
    fitted = fit_calibration(task.card, looks, task.scenes, task.prior, task.fraction, task.data, in_full)
    return replace(task.card, calibration=fitted)


def prove(
    task: Task,
    calibration: Calibration,
    frames: Sequence[LabelledFrame],
    gated: Sequence[LabelledFrame],
    float_: ModelOutputs,
    int8: ModelOutputs,
    float_nodes: tuple[str, ...],
) -> Gate:
    """Both models under the same calibration: figures of the `gated` frames, and equal decisions on all `frames`."""
    decider = Decider(replace(task.card, calibration=calibration))
    energy = Rejection("energy", 0.0)

    def answers(looks: ModelOutputs) -> Decisions:
        logs = looks.under(task.card, calibration)
        energies = familiarity(Outputs(looks.first, None, None), energy)
        return Decisions(logs, [decider.decide(row) for row in logs], np.array(energies, np.float32))

    before, after = answers(float_), answers(int8)
    wanted = {scene.path for scene in gated}  # their names need not differ: class folders number their own
    places = np.array([place for place, scene in enumerate(frames) if scene.path in wanted])
    gate = measure(
        task.card,
        [frames[place] for place in places],
        before.at(places),
        after.at(places),
        task.limits,
        task.data,
        float_nodes,
    )
    same = [(a.kind, a.taxon) == (b.kind, b.taxon) for a, b in zip(before.decisions, after.decisions, strict=True)]
    return replace(gate, figures=gate.figures | {"decision_agreement_all": float(np.mean(same))})
