"""How good the decisions are on labelled frames, each decided by settings fitted on other groups' frames."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from edge.inference.card import Card
from edge.inference.decision import Decision
from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import RANKS, Tree
from export.validation.labelled_frames import LabelledFrame
from export.validation.score_decision import Verdict, judge

SURE = 0.8


def scorecard(
    card: Card, scenes: Sequence[LabelledFrame], decisions: Sequence[Decision], unfitted: FloatArray
) -> dict[str, Any]:
    """Figures for the card, JSON values. Answers more specific than the truth are counted as `open`, not judged.

    `unfitted` holds the first look's log-probabilities float32[N, L] before any fitting: how well they part blank
    frames from animals must not depend on which fold a frame was in.
    """
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    verdicts = [judge(decision, scene, tree) for decision, scene in zip(decisions, scenes, strict=True)]
    answered = [decision.kind != "unknown" for decision in decisions]
    figures: dict[str, Any] = {
        "frames": len(scenes),
        "groups": len({scene.group for scene in scenes}),
        "share_answered": round(float(np.mean(answered)), 4),
    }
    empty = np.array([scene.kind == "blank" for scene in scenes])
    blank = np.array([label.kind == "blank" for label in card.labels])
    if blank.any() and empty.any() and not empty.all():
        figures["blank_auroc"] = round(
            float(roc_auc_score(empty, np.exp(unfitted[:, blank].astype(np.float64)).sum(1))), 4
        )
    for name in (*RANKS, "blank", "vehicle", "human"):
        own = [place for place, decision in enumerate(decisions) if name in (decision.rank, decision.kind)]
        if own:
            figures[f"answers_{name}"] = _counts([verdicts[place] for place in own])
    sure = [
        place
        for place, decision in enumerate(decisions)
        if decision.rank == "species" and decision.confidence >= SURE and scenes[place].species_sure
    ]
    figures[f"species_answers_at_{SURE}"] = _counts([verdicts[place] for place in sure])
    groups: dict[str, Callable[[LabelledFrame], str]] = {
        "by_source": lambda scene: scene.source,
        "by_light": lambda scene: {True: "infrared", False: "day", None: ""}[scene.infrared],
    }
    for title, key in groups.items():
        parts = sorted({key(scene) for scene in scenes} - {""})
        if 1 < len(parts) <= 20:
            figures[title] = {
                part: _counts(
                    [
                        v
                        for v, scene, said in zip(verdicts, scenes, answered, strict=True)
                        if said and key(scene) == part
                    ]
                )
                | {"frames": sum(key(scene) == part for scene in scenes)}
                for part in parts
            }
    return figures


def describe(figures: Mapping[str, Any]) -> str:
    """What `scorecard` gives, for people: a line for each figure, and for each part of one that has parts."""
    lines = []
    for name, value in figures.items():
        if not isinstance(value, dict):
            lines.append((name, value))
        elif any(isinstance(part, dict) for part in value.values()):
            lines += [(f"{name} {part}", _counts_in_words(counts)) for part, counts in value.items()]
        else:
            lines.append((name, _counts_in_words(value)))
    return "\n".join(f"  {name:<24} {text}" for name, text in lines)


def _counts_in_words(counts: Mapping[str, float]) -> str:
    of = f" of {counts['frames']} frames" if "frames" in counts else ""
    text = f"{counts['right']} right, {counts['wrong']} wrong, {counts['open']} open{of}"
    if "precision" in counts:
        text += f"; precision {counts['precision']:.3f} ({counts['low']:.3f} to {counts['high']:.3f})"
    return text


def _counts(verdicts: Sequence[Verdict]) -> dict[str, float]:
    right, wrong = verdicts.count("right"), verdicts.count("wrong")
    figures: dict[str, float] = {"right": right, "wrong": wrong, "open": verdicts.count("open")}
    if right + wrong:
        interval = binomtest(right, right + wrong).proportion_ci(method="wilson")
        figures |= {
            "precision": round(right / (right + wrong), 4),
            "low": round(float(interval.low), 4),
            "high": round(float(interval.high), 4),
        }
    return figures
