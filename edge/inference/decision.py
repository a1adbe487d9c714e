"""The decision rule: calibrated probabilities to the most specific taxon that they support, with the reason."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.inference.card import Card
from edge.inference.taxonomy import RANKS, Tree
from edge.vocabulary import DecisionReason, Kind

CANDIDATES_KEPT = 5
NON_TAXA = (Kind.BLANK, Kind.HUMAN, Kind.VEHICLE)
_ROUNDING = 1e-5  # of a sum of float32 probabilities


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the model's most probable labels, at the label's own rank."""

    name: str
    """Scientific name of an animal, else the kind."""
    rank: str | None
    common_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What a frame or a bounding box shows, as far as the probabilities support it, and why."""

    kind: Kind
    taxon: str | None
    """Scientific name; at worst `Animalia`; `None` exactly when `kind` is not animal."""
    rank: str | None
    common_name: str
    confidence: float
    """Calibrated probability of the decision, 0..1; of the best candidate when the decision is unknown."""
    reason: DecisionReason
    candidates: tuple[Candidate, ...] = ()


class Decider:
    """Decides for one model, one species list and one set of thresholds.

    `allowed` holds scientific names of any rank; `None` allows every label. `thresholds` (by rank, by kind or by label
    name) override the card's.
    """

    def __init__(
        self, card: Card, allowed: Iterable[str] | None = None, thresholds: Mapping[str, float] | None = None
    ) -> None:
        self.card = card
        self.tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
        self._labels: list[tuple[str, str | None, str]] = [
            (label.kind, None, label.common_name)
            if label.taxon is None
            else (label.taxon.scientific_name, label.taxon.rank, label.common_name)
            for label in card.labels
        ]
        """Name, rank and common name of each label."""
        self._own = [None if label.taxon is None else self.tree.label_node(i) for i, label in enumerate(card.labels)]
        self.unmatched: tuple[str, ...] = ()
        """Names of the species list that this model does not know."""
        self._allowed = np.ones(len(card.labels), bool) if allowed is None else self._match(allowed)
        self._counted, self._counts_for = self._sums()
        self._thresholds = {**card.calibration.thresholds, **(thresholds or {})}
        self._of_kind = {kind: [i for i, label in enumerate(card.labels) if label.kind == kind] for kind in NON_TAXA}
        self._node_thresholds = np.array([self._threshold(node.taxon.rank) for node in self.tree.nodes])
        for label, own in zip(card.labels, self._own, strict=True):
            for source in (card.calibration.label_thresholds, thresholds or {}):
                if own is not None and label.name in source:
                    self._node_thresholds[own] = source[label.name]
        kinds = [self._kind_threshold(kind) for kind in (Kind.HUMAN, Kind.VEHICLE) if self._of_kind[kind]]
        self._least = min(kinds + self._node_thresholds.tolist())
        """The lowest threshold but that for a blank: with less probability than that the decision is unknown."""
        self._depths = np.array([RANKS.index(node.taxon.rank) for node in self.tree.nodes])
        self._labels_of: dict[int, list[int]] = {}
        for i, own in enumerate(self._own):
            if own is not None and self._allowed[i]:
                self._labels_of.setdefault(own, []).append(i)

    def decide(self, log_probabilities: NDArray[np.floating], familiarity: float | None = None) -> Decision:
        """Decide on float[L] natural-log probabilities (calibrated, before the species list).

        `familiarity` is the rejection score of the card, where it names one.
        """
        p = np.exp(log_probabilities.astype(np.float64))
        candidates = self._candidates(p)
        best = candidates[0].probability if candidates else 0.0
        rejection = self.card.calibration.rejection
        if rejection is not None and familiarity is not None and familiarity < rejection.threshold:
            return Decision(
                Kind.UNKNOWN, None, None, Kind.UNKNOWN, best, DecisionReason.OUT_OF_DISTRIBUTION, candidates
            )
        for kind, places in self._of_kind.items():
            total = sum(p[i].item() for i in places)
            if total > 0 and total >= self._kind_threshold(kind):
                reason = DecisionReason.BLANK if kind == Kind.BLANK else DecisionReason.CONFIDENT
                return Decision(kind, None, None, kind, min(total, 1.0), reason, candidates)
        return self._decide_taxon(p, candidates, best)

    def is_settled(self, whole: NDArray[np.floating], familiarity: float | None) -> bool:
        """Whether the attention crop cannot change the decision on the whole frame, float[L] as for `decide`.

        Unfamiliar frames are rejected by the whole frame. Where it alone says how probable a blank is, a blank stays
        one, and a frame with less left for everything else than any decision needs stays unknown.
        """
        rejection, plan = self.card.calibration.rejection, self.card.calibration.second_look
        if rejection is not None and familiarity is not None and familiarity < rejection.threshold:
            return True
        blank = sum(math.exp(whole[i].item()) for i in self._of_kind[Kind.BLANK])
        if plan is None or plan.blank_weight > 0 or blank == 0.0:
            return False
        return blank >= self._kind_threshold(Kind.BLANK) + _ROUNDING or 1.0 - blank < self._least - _ROUNDING

    def _kind_threshold(self, kind: Kind) -> float:
        return self._thresholds.get(kind, self._threshold("species"))

    def _decide_taxon(self, p: NDArray[np.float64], candidates: tuple[Candidate, ...], best: float) -> Decision:
        # As a product of matrices this would fetch a megabyte of zeros for every frame.
        sums = np.bincount(self._counts_for, p[self._counted], len(self.tree.nodes))
        reached = np.flatnonzero((sums >= self._node_thresholds) & (sums > 0))
        if not len(reached):
            return Decision(Kind.UNKNOWN, None, None, Kind.UNKNOWN, best, DecisionReason.BELOW_THRESHOLD, candidates)
        node = max(map(int, reached), key=lambda n: (self._depths[n], sums[n]))
        taxon = self.tree.nodes[node].taxon
        common_name, confidence = taxon.common_name, min(float(sums[node]), 1.0)
        reason = DecisionReason.ROLLED_UP
        # A label that reaches the threshold by itself gives its own name: a zebra is more than some Equus.
        own = max(self._labels_of.get(node, ()), key=lambda i: p[i], default=None)
        if own is not None and p[own] >= self._node_thresholds[node]:
            common_name, confidence, reason = (
                self.card.labels[own].common_name,
                min(float(p[own]), 1.0),
                DecisionReason.CONFIDENT,
            )
        return Decision(Kind.ANIMAL, taxon.scientific_name, taxon.rank, common_name, confidence, reason, candidates)

    def _candidates(self, p: NDArray[np.float64]) -> tuple[Candidate, ...]:
        order = np.argsort(-p, kind="stable")
        order = order[self._allowed[order]][:CANDIDATES_KEPT].tolist()
        return tuple(
            Candidate(name, rank, common_name, p[i].item())
            for i, (name, rank, common_name) in ((i, self._labels[i]) for i in order)
        )

    def _threshold(self, rank: str) -> float:
        """Threshold of `rank`, else of the next more specific rank that the card gives (the stricter one)."""
        for name in RANKS[RANKS.index(rank) :]:
            if name in self._thresholds:
                return self._thresholds[name]
        raise ValueError(f"the model's card gives no threshold for {rank} or any rank below; export the model again")

    def _match(self, allowed: Iterable[str]) -> NDArray[np.bool_]:
        """Labels that the list allows: at or below a listed taxon, or above one (a genus may be the listed species)."""
        places: dict[str, list[int]] = {}
        for n, node in enumerate(self.tree.nodes):
            places.setdefault(node.taxon.scientific_name.lower(), []).append(n)
        kept: set[int] = set()
        unmatched = []
        for name in allowed:
            found = places.get(name.lower(), [])
            above: list[int] = found
            if not found:
                # A species that the model does not know may still be one of a genus that it knows.
                above = places.get(name.lower().split()[0], []) if " " in name else []
            if not above:
                unmatched.append(name)
            for place in found:
                kept.update(self.tree.nodes[place].labels)
            lineage = {step for node in above for step in self.tree.lineage(node)}
            kept.update(i for i, own in enumerate(self._own) if own in lineage)
        self.unmatched = tuple(unmatched)
        return np.array([own is None or i in kept for i, own in enumerate(self._own)])

    def _sums(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which label's probability counts for which taxon: pairs of a label and a node, as two intp[P].

        A removed species' probability stays with its nearest ancestor that still has an allowed descendant.
        """
        pairs: list[tuple[int, int]] = []
        everything = bool(self._allowed.all())
        alive = [everything or bool(self._allowed[list(node.labels)].any()) for node in self.tree.nodes]
        for i, own in enumerate(self._own):
            if own is None:
                continue
            lineage = list(self.tree.lineage(own))
            if not self._allowed[i]:
                lineage = [node for node in lineage if alive[node]] or [0]
            pairs += [(i, node) for node in lineage]
        counted, counts_for = np.array(pairs, np.intp).reshape(-1, 2).T
        return np.ascontiguousarray(counted), np.ascontiguousarray(counts_for)
