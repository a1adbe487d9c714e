"""The gate that an int8 model has to pass: what quantisation costs, measured on held-out frames."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sklearn.metrics import f1_score, roc_auc_score

from edge.inference.card import Card, Gate, LabelProof
from edge.inference.decision import Decision
from edge.inference.probabilities import FloatArray
from edge.vocabulary import Kind
from export import ExportError
from export.validation.labelled_frames import NO_LABEL, LabelledFrame
from export.validation.model_outputs import blank_labels
from train.evaluation.calibration import reliability

DEFAULT_LIMITS = {"accuracy_drop": 0.005, "label_drop": 0.02, "label_images": 20.0, "decision_agreement": 0.97}
"""Largest drop of accuracy; largest drop of a label's recall beyond what its interval explains; number of images from
which on a label counts as proven; least share of equal decisions."""
ENOUGH_IMAGES = 200  # with fewer images a single one is more than half a point, so the drop's interval is judged


@dataclass(frozen=True, slots=True)
class ModelDecisions:
    """One model's decisions on N frames."""

    log_probabilities: FloatArray
    """float32[N, L], calibrated, whole frame and attention crop combined."""
    decisions: Sequence[Decision]
    familiarity: FloatArray
    """float32[N]: energy of the whole frame's logits."""

    def at(self, places: NDArray[np.intp]) -> "ModelDecisions":
        """The decisions on the frames at these places."""
        decisions = [self.decisions[place] for place in places]
        return ModelDecisions(self.log_probabilities[places], decisions, self.familiarity[places])


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`NAME=NUMBER` pairs in place of the defaults. Raises `ExportError`."""
    limits = dict(DEFAULT_LIMITS)
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = np.nan
        if name not in limits or not np.isfinite(number):
            raise ExportError(f"limit {text!r} is not understood; expected NAME=NUMBER with one of {', '.join(limits)}")
        limits[name] = number
    return limits


def measure(
    card: Card,
    frames: Sequence[LabelledFrame],
    float_: ModelDecisions,
    int8: ModelDecisions,
    data: str,
    limits: dict[str, float],
) -> Gate:
    """The gate's figures and each label's proof for a float model and its int8 version, under the same calibration.

    `frames` are the held-out ones of the named `data`, `limits` are as `DEFAULT_LIMITS`; `failures` says whether the
    figures pass.
    """
    truth = np.array([frame.label for frame in frames])
    known = truth != NO_LABEL
    figures = {
        "top1_agreement": float(np.mean(float_.log_probabilities.argmax(1) == int8.log_probabilities.argmax(1))),
        "decision_agreement": agreement(float_.decisions, int8.decisions),
        "labelled_images": float(known.sum()),
    }
    right: dict[str, NDArray[np.bool_]] = {}
    for name, model in (("float", float_), ("int8", int8)):
        right[name] = model.log_probabilities.argmax(1) == truth
        figures |= {f"{key}_{name}": value for key, value in _figures(card, frames, model, truth).items()}
    if known.any():
        figures["accuracy_drop"] = figures["accuracy_float"] - figures["accuracy_int8"]
        figures["accuracy_drop_low"], _ = drop_interval(right["float"][known], right["int8"][known])
    proofs = tuple(
        _prove(label.name, right["float"][truth == place], right["int8"][truth == place], limits)
        for place, label in enumerate(card.labels)
        if (truth == place).any()
    )
    return Gate(data, len(frames), figures, limits, proofs)


def agreement(first: Sequence[Decision], second: Sequence[Decision]) -> float:
    """Share of frames for which both models decide on the same kind and taxon."""
    return float(np.mean([(a.kind, a.taxon) == (b.kind, b.taxon) for a, b in zip(first, second, strict=True)]))


def failures(gate: Gate) -> list[str]:
    """The reasons why the model is refused; empty when it passes."""
    reasons = []
    figures, limits = gate.figures, gate.limits
    for name, where in (("decision_agreement", "held-out"), ("decision_agreement_all", "all")):
        if figures.get(name, 1.0) < limits["decision_agreement"]:
            reasons.append(
                f"the same decision on {figures[name]:.1%} of {where} frames, "
                f"the limit is {limits['decision_agreement']:.1%}"
            )
    drop = figures.get("accuracy_drop_low" if figures["labelled_images"] < ENOUGH_IMAGES else "accuracy_drop", 0.0)
    if drop > limits["accuracy_drop"]:
        reasons.append(f"accuracy drops by {drop:.2%}, the limit is {limits['accuracy_drop']:.2%}")
    reasons += [
        f"recall of {proof.label} falls from {proof.recall_float:.3f} to {proof.recall_int8:.3f} "
        f"({proof.images} images)"
        for proof in gate.labels
        if proof.verdict == "failed"
    ]
    return reasons


def table(gate: Gate) -> str:
    """The gate's figures as lines of text."""
    lines = [f"gate on {gate.images} held-out frames of {gate.data}"]
    lines += [f"  {name:<22} {value:.4f}" for name, value in gate.figures.items()]
    lines.append(f"  {'label':<28} {'images':>6} {'float':>6} {'int8':>6}  interval      p      verdict")
    lines += [
        f"  {proof.label:<28} {proof.images:>6} {proof.recall_float:>6.3f} {proof.recall_int8:>6.3f}  "
        f"{proof.interval_low:.3f}-{proof.interval_high:.3f}  {proof.p_value:.3f}  {proof.verdict}"
        for proof in gate.labels
    ]
    return "\n".join(lines)


def drop_interval(right_before: NDArray[np.bool_], right_after: NDArray[np.bool_]) -> tuple[float, float]:
    """95% interval of the paired difference of two proportions (Agresti and Min 2005: Wald with half a case added)."""
    lost, won = float((right_before & ~right_after).sum()) + 0.5, float((~right_before & right_after).sum()) + 0.5
    count = len(right_before) + 2.0
    centre = (lost - won) / count
    half = float(norm.ppf(0.975)) * math.sqrt(lost + won - (lost - won) ** 2 / count) / count
    return centre - half, centre + half


def _figures(
    card: Card, frames: Sequence[LabelledFrame], model: ModelDecisions, truth: NDArray[np.int64]
) -> dict[str, float]:
    p = np.exp(model.log_probabilities.astype(np.float64))
    known = truth != NO_LABEL
    figures: dict[str, float] = {}
    if known.any():
        labels = np.unique(truth[known])
        top = p[known].argmax(1)
        figures["accuracy"] = float(np.mean(top == truth[known]))
        figures["macro_f1"] = float(f1_score(truth[known], top, labels=labels, average="macro", zero_division=0.0))
        figures["ece"] = reliability(p[known], truth[known]).error
    blank = blank_labels(card)
    empty = np.array([frame.kind == Kind.BLANK for frame in frames])
    if blank.any() and empty.any() and not empty.all():
        figures["blank_auroc"] = float(roc_auc_score(empty, p[:, blank].sum(axis=1)))
    if not blank.any() and known.any() and not known.all():
        figures["ood_auroc"] = float(roc_auc_score(known, model.familiarity))
    return figures


def _prove(name: str, before: NDArray[np.bool_], after: NDArray[np.bool_], limits: Mapping[str, float]) -> LabelProof:
    count = len(before)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    interval = binomtest(int(after.sum()), count).proportion_ci(method="wilson")
    p_value = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    verdict: Literal["passed", "unproven", "failed"] = "passed" if count >= limits["label_images"] else "unproven"
    if verdict == "passed" and drop_interval(before, after)[0] > limits["label_drop"]:
        verdict = "failed"
    recalls = float(before.mean()), float(after.mean())
    return LabelProof(name, count, *recalls, float(interval.low), float(interval.high), p_value, verdict)
