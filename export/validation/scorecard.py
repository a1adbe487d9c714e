"""Figures of a model's decisions on labelled frames, for the model card and for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from edge.inference.card import Card
from edge.inference.decision import Decision
from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import RANKS, Tree
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame
from export.validation.model_outputs import blank_labels
from export.validation.score_decision import Score, score_decision

SURE = 0.8


def scorecard(
    card: Card, frames: Sequence[LabelledFrame], decisions: Sequence[Decision], unfitted: FloatArray
) -> dict[str, Any]:
    """Figures for the card, as JSON values. Decisions more specific than the truth count as `open`.

    `unfitted` holds log-probabilities float32[N, L] of the whole frames before any fitting: how well they separate
    blanks from animals must not depend on the fold that a frame was in.
    """
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    scores = [score_decision(decision, frame, tree) for decision, frame in zip(decisions, frames, strict=True)]
    known = [decision.kind != Kind.UNKNOWN for decision in decisions]
    figures: dict[str, Any] = {
        "frames": len(frames),
        "groups": len({frame.group for frame in frames}),
        "share_answered": round(float(np.mean(known)), 4),
    }
    empty = np.array([frame.kind == Kind.BLANK for frame in frames])
    blank = blank_labels(card)
    if blank.any() and empty.any() and not empty.all():
        probability = np.exp(unfitted[:, blank].astype(np.float64)).sum(1)
        figures["blank_auroc"] = round(float(roc_auc_score(empty, probability)), 4)
    for name in (*RANKS, Kind.BLANK, Kind.VEHICLE, Kind.HUMAN):
        own = [place for place, decision in enumerate(decisions) if name in (decision.rank, decision.kind)]
        if own:
            figures[f"answers_{name}"] = _counts([scores[place] for place in own])
    sure = [
        score
        for score, decision, frame in zip(scores, decisions, frames, strict=True)
        if decision.rank == "species" and decision.confidence >= SURE and frame.species_sure
    ]
    figures[f"species_answers_at_{SURE}"] = _counts(sure)
    light = {True: "infrared", False: "day", None: ""}
    by_light = [light[frame.infrared] for frame in frames]
    for title, keys in (("by_source", [frame.source for frame in frames]), ("by_light", by_light)):
        parts = sorted({*keys} - {""})
        if 1 < len(parts) <= 20:
            figures[title] = {
                part: _counts([score for score, k, own in zip(scores, known, keys, strict=True) if k and own == part])
                | {"frames": keys.count(part)}
                for part in parts
            }
    return figures


def describe(figures: Mapping[str, Any]) -> str:
    """The figures of `scorecard` as text: one line for each figure, or for each part of a figure that has parts."""
    lines = []
    for name, value in figures.items():
        if not isinstance(value, dict):
            lines.append((name, value))
        elif any(isinstance(part, dict) for part in value.values()):
            lines += [(f"{name} {part}", _counts_as_text(counts)) for part, counts in value.items()]
        else:
            lines.append((name, _counts_as_text(value)))
    return "\n".join(f"  {name:<24} {text}" for name, text in lines)


def _counts_as_text(counts: Mapping[str, float]) -> str:
    of = f" of {counts['frames']} frames" if "frames" in counts else ""
    text = f"{counts['right']} right, {counts['wrong']} wrong, {counts['open']} open{of}"
    if "precision" in counts:
        text += f"; precision {counts['precision']:.3f} ({counts['low']:.3f} to {counts['high']:.3f})"
    return text


def _counts(scores: Sequence[Score]) -> dict[str, float]:
    right, wrong = scores.count("right"), scores.count("wrong")
    figures: dict[str, float] = {"right": right, "wrong": wrong, "open": scores.count("open")}
    if right + wrong:
        interval = binomtest(right, right + wrong).proportion_ci(method="wilson")
        figures |= {
            "precision": round(right / (right + wrong), 4),
            "low": round(float(interval.low), 4),
            "high": round(float(interval.high), 4),
        }
    return figures
