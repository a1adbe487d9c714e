"""Whether an answer agrees with what an annotator saw."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.inference.decision import Decision
from edge.inference.taxonomy import RANKS, Node, TaxonKey, Tree
from export.validation.labelled_frames import LabelledFrame

Verdict = Literal["right", "wrong", "open"]


def judge_taxon(lineage: Sequence[TaxonKey], truth: Sequence[TaxonKey]) -> Verdict:
    """An answer's lineage against the truth's; both from the kingdom down, the truth's empty when there is no animal.

    right: the truth itself or an ancestor of it. wrong: it leaves the truth's lineage. open: more specific than what
    the annotator was sure of, so nobody can say.
    """
    if not truth:
        return "wrong"
    if lineage[-1] in truth:
        return "right"
    deeper = RANKS.index(lineage[-1][0]) > RANKS.index(truth[-1][0])
    return "open" if deeper and truth[-1] in lineage else "wrong"


def judge(decision: Decision, scene: LabelledFrame, tree: Tree) -> Verdict:
    """A decision against its scene; `unknown` is open."""
    if decision.kind == "unknown":
        return "open"
    if decision.kind != "animal":
        return "right" if decision.kind == scene.kind else "wrong"
    key = (decision.rank, decision.taxon)
    node = next(n for n, node in enumerate(tree.nodes) if (node.taxon.rank, node.taxon.scientific_name) == key)
    return judge_taxon(node_lineage(tree, node), scene.lineage)


def node_lineage(tree: Tree, node: int) -> list[TaxonKey]:
    """Keys from the kingdom down to the node."""
    steps: list[Node] = [tree.nodes[step] for step in tree.lineage(node)]
    return [(step.taxon.rank, step.taxon.scientific_name) for step in reversed(steps)]


def truth_nodes(tree: Tree, scenes: Sequence[LabelledFrame]) -> NDArray[np.int64]:
    """int64[N]: the deepest taxon of the model on each scene's lineage; -1 when it shows no animal."""
    places = {(node.taxon.rank, node.taxon.scientific_name): n for n, node in enumerate(tree.nodes)}
    return np.array(
        [max((places[key] for key in scene.lineage if key in places), default=-1) for scene in scenes], np.int64
    )
