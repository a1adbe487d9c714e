"""Fits the least probability of a decision at each rank: high enough to be right, placed where few decisions are close.

The same frame gives other pixels when it is decoded at another scale. A threshold in the midst of many frames'
probabilities would then change some of their decisions. So among the places at which decisions are right as often as
wanted, the one is taken that changes the fewest decisions between renderings of the same frames. (The float network's
outputs are no such rendering: the gate measures how often int8 decides like float, so nothing is fitted to that.)
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.inference.probabilities import FloatArray
from edge.inference.taxonomy import RANKS, Tree
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame
from export.validation.score_decision import score_taxon

PRECISION = dict.fromkeys(("kingdom", "phylum", "class", "species"), 0.9)
PRECISION |= dict.fromkeys(("order", "family", "genus", "blank"), 0.8)
"""Wanted precision of decisions, by rank or kind."""
UNPROVEN_THRESHOLD = 0.9
"""Threshold where the data has too few right decisions to fit one."""
LEAST_DECISIONS = 8
"""Fewer right decisions than these prove no threshold."""
SEARCH = 0.12
"""How far above the least allowed probability a threshold may be moved to where few decisions change."""
STEP = 0.005
CLOSE = 0.015
"""About how far int8 moves a probability."""
LEAST_THRESHOLD = 0.5
"""Below one half another taxon of the same rank could be more probable."""
_UNDECIDED = -1
_BLANK = -2


@dataclass(frozen=True, slots=True)
class _RankDecisions:
    """What one rank alone would decide for N frames in R renderings, the device's own rendering first."""

    nodes: NDArray[np.int64]
    """int64[R, N]: the most probable node of the rank, or `_BLANK`."""
    confidence: NDArray[np.float64]
    """float64[R, N]"""
    right: NDArray[np.bool_]
    """bool[N]: whether the decision on the device's own rendering is right."""
    scored: NDArray[np.bool_]
    """bool[N]: whether it can be scored, that is, is not more specific than the truth."""

    def above(self, threshold: float, before: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[R, N]: the decisions with this threshold for frames that were undecided `before`."""
        return np.where((before == _UNDECIDED) & (self.confidence >= threshold), self.nodes, before)


def fit_thresholds(
    tree: Tree,
    renderings: Sequence[FloatArray],
    frames: Sequence[LabelledFrame],
    blank: NDArray[np.bool_],
    never: Collection[int] = (),
) -> dict[str, float]:
    """The least probability of a decision, for each rank and for blanks.

    `renderings` holds float32[N, L] calibrated log-probabilities of the same frames, the device's own first; `blank`
    says which labels are blanks. Labels at the places `never` are decided only at a higher rank.
    """
    p = np.exp(np.stack(renderings).astype(np.float64))
    members = np.zeros((len(tree.nodes), p.shape[2]))
    for n, node in enumerate(tree.nodes):
        members[n, list(node.labels)] = 1.0
    sums = p @ members.T
    thresholds: dict[str, float] = {}
    decided = np.full(p.shape[:2], _UNDECIDED)
    if blank.any():
        empty = np.array([frame.kind == Kind.BLANK for frame in frames])
        scored = np.ones(len(frames), bool)
        blanks = _RankDecisions(np.full(p.shape[:2], _BLANK), p[:, :, blank].sum(axis=2), empty, scored)
        thresholds["blank"] = _fit(blanks, PRECISION["blank"], decided)
        decided = blanks.above(thresholds["blank"], decided)
    left_out = {tree.label_node(place) for place in never}
    for rank in reversed(RANKS):  # as on the device, the most specific rank that reaches its threshold decides
        nodes = np.array([n for n, node in enumerate(tree.nodes) if node.taxon.rank == rank and n not in left_out])
        if any(node.taxon.rank == rank for node in tree.nodes):
            thresholds[rank] = UNPROVEN_THRESHOLD
        if len(nodes):
            decisions = _rank_decisions(tree, nodes, sums, frames)
            thresholds[rank] = _fit(decisions, PRECISION[rank], decided)
            decided = decisions.above(thresholds[rank], decided)
    return thresholds


def _rank_decisions(
    tree: Tree, nodes: NDArray[np.int64], sums: NDArray[np.float64], frames: Sequence[LabelledFrame]
) -> _RankDecisions:
    """The most probable of `nodes`; `sums` holds float64[R, N, nodes of the tree]."""
    best = nodes[sums[:, :, nodes].argmax(axis=2)]
    confidence = np.take_along_axis(sums, best[:, :, None], axis=2)[:, :, 0]
    lineages = [list(tree.nodes[node].taxon.lineage()) for node in best[0]]
    scores = np.array([score_taxon(own, frame.lineage) for own, frame in zip(lineages, frames, strict=True)])
    return _RankDecisions(best, confidence, scores == "right", scores != "open")


def _fit(decisions: _RankDecisions, wanted: float, decided: NDArray[np.int64]) -> float:
    """The threshold of one rank, given what more specific ranks have `decided`."""
    confidence, right = decisions.confidence[0][decisions.scored], decisions.right[decisions.scored]
    least = _least_confidence(confidence, right, wanted)
    if least is None:
        return UNPROVEN_THRESHOLD
    least = max(LEAST_THRESHOLD, least)
    places = np.round((np.floor(least / STEP) + np.arange(round(SEARCH / STEP))) * STEP, 3)
    above = [(place, right[confidence >= place]) for place in places]
    kept = [place for place, given in above if len(given) >= LEAST_DECISIONS and given.mean() >= wanted]

    def changes(place: float) -> tuple[int, int]:
        """Frames whose decision depends on the rendering, then frames that are close to it."""
        each = decisions.above(place, decided)
        close = np.abs(decisions.confidence - place) < CLOSE
        return int((each[1:] != each[0]).sum()), int(close.sum())

    return float(min(kept or [least], key=changes))


def _least_confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float) -> float | None:
    """The least confidence above which decisions are right at the wanted rate; `None` where too few are."""
    if right.sum() < LEAST_DECISIONS:
        return None
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    good = np.flatnonzero((np.cumsum(right[order]) / count >= wanted) & (count >= LEAST_DECISIONS))
    return float(confidence[order][good[-1]]) if len(good) else None
