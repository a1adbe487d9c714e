"""Agreement of the model with people, measured on the reviewed frames."""

from dataclasses import dataclass
from enum import Enum, auto
from math import sqrt

import numpy as np

from edge.database.taxon_index import lineage_of
from edge.inference.taxonomy import RANKS, Taxon
from edge.report.analysis.study import Study
from edge.report.read.survey import ANIMAL

LEAST_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Share:
    """A proportion with its 95% Wilson interval."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return float("nan"), float("nan")
        z, n, p = 1.959964, self.of, self.hits / self.of
        middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@dataclass(frozen=True, slots=True)
class TaxonAgreement:
    """One taxon in the reviewed frames."""

    name: str
    scientific_name: str
    precision: Share
    """Share of the frames with the model's decision for it that people call so as well."""
    recall: Share
    """Share of the frames that people call so with the same decision of the model."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement in all reviewed frames that the model classified."""

    frames: int
    undecided: int
    """Frames in none of the shares: the lineage of people's label is unknown at the rank of the model's."""
    same: Share
    """The same kind and the same taxon."""
    coarser: Share
    """The model named a higher taxon of what people named."""
    taxa: tuple[TaxonAgreement, ...]


def agreement(study: Study) -> Agreement | None:
    """Precision and recall by taxon; `None` when no frame is reviewed.

    Frames that were chosen for review for their low confidence make the model seem worse than it is.
    """
    pairs, taxa = study.survey.pairs, study.survey.taxa
    if not len(pairs):
        return None
    human = np.where(pairs.human_kind == ANIMAL, pairs.human_taxon, -2 - pairs.human_kind)
    machine = np.where(pairs.machine_kind == ANIMAL, pairs.machine_taxon, -2 - pairs.machine_kind)
    relations = [
        _relation(taxa[h], taxa[m]) if min(h, m) >= 0 and h != m else Relation.SAME if h == m else Relation.OTHER
        for h, m in zip(human.tolist(), machine.tolist(), strict=True)
    ]
    decided = np.array([relation is not Relation.UNDECIDED for relation in relations], bool)
    human, machine = human[decided], machine[decided]
    same = human == machine
    coarser = relations.count(Relation.COARSER)
    found = []
    for code in np.unique(np.concatenate([human, machine])).tolist():
        if code < 0 or taxa[code].rank != "species":
            continue
        both = int((same & (human == code)).sum())
        by_model, by_people = int((machine == code).sum()), int((human == code).sum())
        if max(by_model, by_people) >= LEAST_FRAMES:
            taxon = taxa[code]
            found.append(
                TaxonAgreement(
                    taxon.common_name or taxon.scientific_name,
                    taxon.scientific_name,
                    Share(both, by_model),
                    Share(both, by_people),
                )
            )
    found.sort(key=lambda item: (-item.recall.of, item.scientific_name))
    size = len(same)
    return Agreement(len(pairs), len(pairs) - size, Share(int(same.sum()), size), Share(coarser, size), tuple(found))


class Relation(Enum):
    """How the model's decision stands to what people named."""

    SAME = auto()
    COARSER = auto()
    """A taxon above what people named."""
    OTHER = auto()
    UNDECIDED = auto()
    """The lineage of what people named is not known at the rank of the model's decision."""


def _relation(named: Taxon, decided: Taxon) -> Relation:
    """Compare two different taxa."""
    line = lineage_of(named)
    above = named.scientific_name.startswith(
        f"{decided.scientific_name} "
    )  # species of a subspecies, genus of a species
    if (decided.rank, decided.scientific_name) in line or above:
        return Relation.COARSER
    if named.rank in RANKS and decided.rank in RANKS:
        finer = RANKS.index(decided.rank) >= RANKS.index(named.rank)
        if finer or any(rank == decided.rank for rank, _ in line):
            return Relation.OTHER
    return Relation.UNDECIDED
