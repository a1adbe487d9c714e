"""Scores a decision against what an annotator saw in the frame: right, wrong, or open."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.inference.decision import Decision
from edge.inference.taxonomy import RANKS, TaxonKey, Tree
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame

Score = Literal["right", "wrong", "open"]


def score_taxon(lineage: Sequence[TaxonKey], truth: Sequence[TaxonKey]) -> Score:
    """Compare a decided taxon's lineage with the truth's, both from the kingdom down; no animal has an empty lineage.

    right: the true taxon or an ancestor of it. wrong: the lineages part. open: more specific than what the annotator
    was sure of, so nobody knows.
    """
    if not truth:
        return "wrong"
    if lineage[-1] in truth:
        return "right"
    deeper = RANKS.index(lineage[-1][0]) > RANKS.index(truth[-1][0])
    return "open" if deeper and truth[-1] in lineage else "wrong"


def score_decision(decision: Decision, frame: LabelledFrame, tree: Tree) -> Score:
    """Compare a decision with its frame's truth; `unknown` is open."""
    if decision.kind == Kind.UNKNOWN:
        return "open"
    if decision.kind != Kind.ANIMAL:
        return "right" if decision.kind == frame.kind else "wrong"
    key = (decision.rank, decision.taxon)
    taxon = next(node.taxon for node in tree.nodes if (node.taxon.rank, node.taxon.scientific_name) == key)
    return score_taxon(list(taxon.lineage()), frame.lineage)


def truth_nodes(tree: Tree, frames: Sequence[LabelledFrame]) -> NDArray[np.int64]:
    """int64[N]: the deepest of the model's taxa on each frame's lineage; -1 when it shows no animal."""
    places = {(node.taxon.rank, node.taxon.scientific_name): n for n, node in enumerate(tree.nodes)}
    deepest = [max((places[key] for key in frame.lineage if key in places), default=-1) for frame in frames]
    return np.array(deepest, np.int64)
