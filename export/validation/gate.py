"""What int8 costs, measured on held-out frames: pass, or fail with the reason."""

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
from export import ExportError
from export.validation.labelled_frames import UNSEEN, LabelledFrame
from train.evaluation.calibration import reliability

DEFAULT_LIMITS = {"accuracy_drop": 0.005, "label_drop": 0.02, "label_images": 20.0, "decision_agreement": 0.97}
"""Largest drop of accuracy; largest drop of a label's recall beyond what its interval explains; images from which on a
label counts as proven; least share of equal decisions."""
ENOUGH = 200  # of fewer images a single one is more than half a point, so their interval has to show the drop


@dataclass(frozen=True, slots=True)
class Decisions:
    """Of N scenes by one model."""

    logs: FloatArray
    """float32[N, L]: log-probabilities, calibrated, both looks combined."""
    decisions: Sequence[Decision]
    familiarity: FloatArray
    """float32[N]: energy of the first look's logits."""

    def at(self, places: NDArray[np.intp]) -> "Decisions":
        """Those scenes alone."""
        return Decisions(self.logs[places], [self.decisions[place] for place in places], self.familiarity[places])


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`name=value` pairs over the defaults. Raises `ExportError`."""
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
    scenes: Sequence[LabelledFrame],
    float_: Decisions,
    int8: Decisions,
    limits: Mapping[str, float],
    data: str,
    float_nodes: tuple[str, ...] = (),
) -> Gate:
    """The gate's figures and verdicts; `failures` says whether they pass."""
    truth = np.array([scene.label for scene in scenes])
    known = truth != UNSEEN
    same = [(a.kind, a.taxon) == (b.kind, b.taxon) for a, b in zip(float_.decisions, int8.decisions, strict=True)]
    figures = {
        "top1_agreement": float(np.mean(float_.logs.argmax(1) == int8.logs.argmax(1))),
        "decision_agreement": float(np.mean(same)),
        "labelled_images": float(known.sum()),
    }
    right: dict[str, NDArray[np.bool_]] = {}
    for name, answers in (("float", float_), ("int8", int8)):
        right[name] = answers.logs.argmax(1) == truth
        figures |= {f"{key}_{name}": value for key, value in _figures(card, scenes, answers, truth, known).items()}
    if known.any():
        low, _ = drop_interval(right["float"][known], right["int8"][known])
        figures |= {"accuracy_drop": figures["accuracy_float"] - figures["accuracy_int8"], "accuracy_drop_low": low}
    proofs = tuple(
        _prove(label.name, right["float"][truth == place], right["int8"][truth == place], limits)
        for place, label in enumerate(card.labels)
        if (truth == place).any()
    )
    return Gate(data, len(scenes), figures, dict(limits), proofs, float_nodes)


def failures(gate: Gate) -> list[str]:
    """Why the gate refuses; empty when it passes."""
    reasons = []
    figures, limits = gate.figures, gate.limits
    for name in ("decision_agreement", "decision_agreement_all"):
        if figures.get(name, 1.0) < limits["decision_agreement"]:
            where = "all" if name.endswith("all") else "held-out"
            reasons.append(
                f"the same decision on {figures[name]:.1%} of {where} frames, "
                f"the limit is {limits['decision_agreement']:.1%}"
            )
    drop = figures.get("accuracy_drop_low" if figures["labelled_images"] < ENOUGH else "accuracy_drop", 0.0)
    if drop > limits["accuracy_drop"]:
        reasons.append(f"accuracy drops by {drop:.2%}, the limit is {limits['accuracy_drop']:.2%}")
    reasons += [
        f"recall of {proof.label} falls from {proof.recall_float:.3f} to {proof.recall_int8:.3f} ({proof.images})"
        for proof in gate.labels
        if proof.verdict == "failed"
    ]
    return reasons


def table(gate: Gate) -> str:
    """The gate as lines of text: what a refusal prints."""
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
    card: Card,
    scenes: Sequence[LabelledFrame],
    answers: Decisions,
    truth: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> dict[str, float]:
    p = np.exp(answers.logs.astype(np.float64))
    figures: dict[str, float] = {}
    if known.any():
        labels = np.unique(truth[known])
        top = p[known].argmax(1)
        figures["accuracy"] = float(np.mean(top == truth[known]))
        figures["macro_f1"] = float(f1_score(truth[known], top, labels=labels, average="macro", zero_division=0.0))
        figures["ece"] = reliability(p[known], truth[known]).error
    blank = np.array([label.kind == "blank" for label in card.labels])
    empty = np.array([scene.kind == "blank" for scene in scenes])
    if blank.any() and empty.any() and not empty.all():
        figures["blank_auroc"] = float(roc_auc_score(empty, p[:, blank].sum(axis=1)))
    if not blank.any() and known.any() and not known.all():
        figures["ood_auroc"] = float(roc_auc_score(known, answers.familiarity))
    return figures


def _prove(name: str, before: NDArray[np.bool_], after: NDArray[np.bool_], limits: Mapping[str, float]) -> LabelProof:
    count = len(before)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    interval = binomtest(int(after.sum()), count).proportion_ci(method="wilson")
    p_value = float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0
    low, _ = drop_interval(before, after)
    failed = count >= limits["label_images"] and low > limits["label_drop"]
    verdict: Literal["passed", "unproven", "failed"]
    verdict = "failed" if failed else "passed" if count >= limits["label_images"] else "unproven"
    return LabelProof(
        name,
        count,
        float(before.mean()),
        float(after.mean()),
        float(interval.low),
        float(interval.high),
        p_value,
        verdict,
    )
