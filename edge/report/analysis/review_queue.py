"""Which frames a person should look at first: each look there changes the report most."""

from dataclasses import dataclass

import numpy as np

from edge.database.taxon_index import lineage_of
from edge.report.analysis.events import frame_bursts
from edge.report.analysis.study import Study
from edge.report.read.survey import ANIMAL

OF_EACH_SORT = 4


@dataclass(frozen=True, slots=True)
class Doubt:
    """A frame and why to look at it."""

    frame: int
    """Place in `Survey.frames`."""
    record: int
    why: str


def first_to_review(study: Study) -> list[Doubt]:
    """Rare species, frames of one burst with different answers, and the least sure names; nothing reviewed already."""
    records = study.survey.records
    looked = np.zeros(len(study.survey.frames), bool)
    looked[records.frame[records.human]] = True
    open_ = np.flatnonzero((records.kind == ANIMAL) & ~looked[records.frame])
    chosen: list[Doubt] = []
    for sort in (_rare, _disputed, _unsure):
        taken = {doubt.frame for doubt in chosen}
        chosen += [doubt for doubt in sort(study, open_) if doubt.frame not in taken][:OF_EACH_SORT]
    return chosen


def _rare(study: Study, open_: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Doubt]:
    """One wrong answer is a whole species here."""
    records = study.survey.records
    doubts = []
    for row in sorted(study.species, key=lambda row: row.abundance.events):
        if row.taxon.rank != "species" or not 0 < row.abundance.events <= 2:
            continue
        mine = open_[records.taxon[open_] == row.code]
        if len(mine):
            best = int(mine[np.argmax(records.confidence[mine])])
            why = "the only event of its species" if row.abundance.events == 1 else "one of two events of its species"
            doubts.append(Doubt(int(records.frame[best]), best, why))
    return doubts


def _disputed(study: Study, open_: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Doubt]:
    """Frames of one trigger rarely show two species."""
    records, taxa = study.survey.records, study.survey.taxa
    species = np.array([taxon.rank == "species" for taxon in taxa] or [False])
    named = open_[(records.taxon[open_] >= 0) & species[records.taxon[open_]]]
    burst = frame_bursts(study.survey, study.rules)[records.frame[named]]
    low: dict[int, tuple[int, int]] = {}
    high: dict[int, tuple[int, int]] = {}
    for place, number, taxon in zip(named.tolist(), burst.tolist(), records.taxon[named].tolist(), strict=True):
        low.setdefault(number, (taxon, place))
        if taxon != low[number][0]:
            high.setdefault(number, (taxon, place))
    doubts = []
    for number, (taxon, place) in high.items():
        other = taxa[low[number][0]]
        why = f"another frame of its burst says {other.common_name or other.scientific_name}"
        alike = len(set(lineage_of(other)) & set(lineage_of(taxa[taxon])))
        doubts.append((alike, -float(records.confidence[place]), Doubt(int(records.frame[place]), place, why)))
    return [doubt for *_, doubt in sorted(doubts, key=lambda item: item[:2])]


def _unsure(study: Study, open_: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[Doubt]:
    records, taxa = study.survey.records, study.survey.taxa
    species = np.array([taxon.rank == "species" for taxon in taxa] or [False])
    named = open_[(records.taxon[open_] >= 0) & species[records.taxon[open_]]]
    order = named[np.argsort(records.confidence[named], kind="stable")][: 10 * OF_EACH_SORT]
    seen: set[int] = set()
    doubts = []
    for place in order.tolist():
        taxon = int(records.taxon[place])
        if taxon in seen:
            continue  # one of each species tells more than four of one
        seen.add(taxon)
        doubts.append(Doubt(int(records.frame[place]), place, f"named with {records.confidence[place]:.0%} only"))
    return doubts
