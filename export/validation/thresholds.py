"""From which probability on an answer is given: where it is right often enough, and where few answers depend on chance.

The same frame comes as other pixels when it is decoded at another scale. Where a threshold stands among many frames'
probabilities, such a change tips some of them over. So among the places at which answers are right as often as wanted,
the one is taken that changes the fewest decisions between renderings of the same frames. (The float network's answers
are no such rendering: how often int8 decides as it does is what the gate measures, and nothing is fitted to it.)
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import RANKS, Tree
from export.validation.labelled_frames import LabelledFrame
from export.validation.score_decision import judge_taxon, node_lineage

PRECISION = {"kingdom": 0.9, "phylum": 0.9, "class": 0.9, "order": 0.8, "family": 0.8, "genus": 0.8, "species": 0.9,
             "blank": 0.8}  # fmt: skip
"""Wanted precision of answers, by rank or kind."""
UNPROVEN_THRESHOLD = 0.9
"""Where the data has too few answers to find a threshold."""
LEAST_ANSWERS = 8
"""Fewer right answers than these prove no threshold."""
SEARCH = 0.12
"""How far above the least allowed confidence a threshold may be moved to where few decisions change."""
STEP = 0.005
CLOSE = 0.015
"""How far int8 moves a probability, roughly."""
LEAST_THRESHOLD = 0.5
"""Below it another answer of the same rank could be the likelier one."""
_NOTHING = -1
_BLANK = -2


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one rank would say of N frames in R renderings, the device's own first."""

    said: NDArray[np.int64]
    """int64[R, N]"""
    confidence: NDArray[np.float64]
    """float64[R, N]"""
    right: NDArray[np.bool_]
    """bool[N]: the device's own answers."""
    judged: NDArray[np.bool_]
    """bool[N]: not more specific than the truth."""

    def above(self, threshold: float, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[R, N]: decisions with this threshold, where those `before` it have said nothing."""
        return np.where((before == _NOTHING) & (self.confidence >= threshold), self.said, before)


def fit_thresholds(
    tree: Tree, renderings: Sequence[FloatArray], scenes: Sequence[LabelledFrame], blank: NDArray[np.bool_],
    silent: Collection[int] = (),
) -> dict[str, float]:  # fmt: skip
    """For each rank the least probability of an answer, and for blanks.

    `renderings` holds float32[N, L] calibrated log-probabilities of the same scenes, the device's own first; `blank`
    says which labels are blanks. Labels at the places `silent` never answer by themselves.
    """
    p = np.exp(np.stack(renderings).astype(np.float64))
    members = np.zeros((len(tree.nodes), p.shape[2]))
    for n, node in enumerate(tree.nodes):
        members[n, list(node.labels)] = 1.0
    sums = p @ members.T
    thresholds: dict[str, float] = {}
    decided = np.full(p.shape[:2], _NOTHING)
    if blank.any():
        empty = np.array([scene.kind == "blank" for scene in scenes])
        everything = np.ones(len(scenes), bool)
        answers = _Answers(np.full(p.shape[:2], _BLANK), p[:, :, blank].sum(axis=2), empty, everything)
        thresholds["blank"] = _place(answers, PRECISION["blank"], decided)
        decided = answers.above(thresholds["blank"], decided)
    mute = {tree.label_node(place) for place in silent}
    for rank in reversed(RANKS):  # as the edge decides: the most specific answer that reaches its threshold
        nodes = np.array([n for n, node in enumerate(tree.nodes) if node.taxon.rank == rank and n not in mute])
        if any(node.taxon.rank == rank for node in tree.nodes):
            thresholds[rank] = UNPROVEN_THRESHOLD
        if len(nodes):
            answers = _answers(tree, nodes, sums, scenes)
            thresholds[rank] = _place(answers, PRECISION[rank], decided)
            decided = answers.above(thresholds[rank], decided)
    return thresholds


def _answers(
    tree: Tree, nodes: NDArray[np.int64], sums: NDArray[np.float64], scenes: Sequence[LabelledFrame]
) -> _Answers:
    """The likeliest of `nodes`; `sums` holds float64[R, N, nodes of the tree]."""
    best = sums[:, :, nodes].argmax(axis=2)
    said = nodes[best]
    confidence = np.take_along_axis(sums, said[:, :, None], axis=2)[:, :, 0]
    verdicts = [judge_taxon(node_lineage(tree, n), scene.lineage) for n, scene in zip(said[0], scenes, strict=True)]
    right, judged = (np.array([wanted(verdict) for verdict in verdicts]) for wanted in ("right".__eq__, "open".__ne__))
    return _Answers(said, confidence, right, judged)


def _place(answers: _Answers, wanted: float, decided: NDArray[np.int64]) -> float:
    """The threshold of one rank, given what the more specific ones have `decided`."""
    own, right = answers.confidence[0][answers.judged], answers.right[answers.judged]
    least = _least_confidence(own, right, wanted)
    if least is None:
        return UNPROVEN_THRESHOLD
    least = max(LEAST_THRESHOLD, least)
    places = np.round((np.floor(least / STEP) + np.arange(round(SEARCH / STEP))) * STEP, 3)
    kept = [place for place in places if _holds(own, right, wanted, place)]

    def unrest(place: float) -> tuple[int, int]:
        """Frames whose decision depends on the rendering, then frames that are close to it."""
        decisions = answers.above(place, decided)
        close = np.abs(answers.confidence - place) < CLOSE
        return int((decisions[1:] != decisions[0]).sum()), int(close.sum())

    return float(min(kept or [least], key=unrest))


def _least_confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> float | None:
    """The least confidence from which on answers are right at the wanted rate; `None` where too few are."""
    if right.sum() < LEAST_ANSWERS:
        return None
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    rate = np.cumsum(right[order]) / count
    good = np.flatnonzero((rate >= wanted) & (count >= LEAST_ANSWERS))
    return float(confidence[order][good[-1]]) if len(good) else None


def _holds(confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float, place: float) -> bool:
    """Whether answers from `place` on are still enough, and right often enough."""
    given = confidence >= place
    return bool(given.sum() >= LEAST_ANSWERS and right[given].mean() >= wanted)
