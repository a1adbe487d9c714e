"""Frames that a person should review first, because a correction there changes the report most."""

from dataclasses import dataclass

import numpy as np

from edge.database.taxon_index import lineage_of
from edge.report.analysis.events import frame_bursts
from edge.report.analysis.study import Study
from edge.report.read.survey import ANIMAL

OF_EACH_SORT = 4
Places = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame to review, with the reason."""

    frame: int
    """Place in `Survey.frames`."""
    record: int
    """Place in `Survey.records`."""
    reason: str


def first_to_review(study: Study) -> list[Candidate]:
    """Rare species, bursts with different answers, and the least confident names; nothing reviewed already."""
    records = study.survey.records
    reviewed = np.zeros(len(study.survey.frames), bool)
    reviewed[records.frame[records.human]] = True
    unreviewed = np.flatnonzero((records.kind == ANIMAL) & ~reviewed[records.frame])
    chosen: list[Candidate] = []
    for find in (_rare, _disputed, _unsure):
        taken = {candidate.frame for candidate in chosen}
        chosen += [found for found in find(study, unreviewed) if found.frame not in taken][:OF_EACH_SORT]
    return chosen


def _rare(study: Study, unreviewed: Places) -> list[Candidate]:
    """Species with one or two events, where one wrong answer adds a species."""
    records = study.survey.records
    candidates = []
    for row in sorted(study.species, key=lambda row: row.abundance.events):
        if row.taxon.rank != "species" or not 0 < row.abundance.events <= 2:
            continue
        mine = unreviewed[records.taxon[unreviewed] == row.code]
        if len(mine):
            best = int(mine[np.argmax(records.confidence[mine])])
            reason = (
                "the only event of its species" if row.abundance.events == 1 else "one of two events of its species"
            )
            candidates.append(Candidate(int(records.frame[best]), best, reason))
    return candidates


def _disputed(study: Study, unreviewed: Places) -> list[Candidate]:
    """Bursts in which two species are named, though frames of one trigger rarely show two; the most different first."""
    records, taxa = study.survey.records, study.survey.taxa
    named = _named_to_species(study, unreviewed)
    burst = frame_bursts(study.survey, study.rules)[records.frame[named]]
    first_of: dict[int, int] = {}
    other_of: dict[int, tuple[int, int]] = {}
    for place, number, taxon in zip(named.tolist(), burst.tolist(), records.taxon[named].tolist(), strict=True):
        first_of.setdefault(number, taxon)
        if taxon != first_of[number]:
            other_of.setdefault(number, (taxon, place))
    candidates = []
    for number, (taxon, place) in other_of.items():
        first = taxa[first_of[number]]
        reason = f"another frame of its burst is called {first.common_name or first.scientific_name}"
        shared_ranks = len(set(lineage_of(first)) & set(lineage_of(taxa[taxon])))
        candidate = Candidate(int(records.frame[place]), place, reason)
        candidates.append((shared_ranks, -float(records.confidence[place]), candidate))
    return [candidate for *_, candidate in sorted(candidates, key=lambda item: item[:2])]


def _unsure(study: Study, unreviewed: Places) -> list[Candidate]:
    """The least confident frame of each species."""
    records = study.survey.records
    named = _named_to_species(study, unreviewed)
    order = named[np.argsort(records.confidence[named], kind="stable")][: 10 * OF_EACH_SORT]
    candidates: dict[int, Candidate] = {}
    for place in order.tolist():
        reason = f"named with a confidence of {records.confidence[place]:.0%} only"
        candidates.setdefault(int(records.taxon[place]), Candidate(int(records.frame[place]), place, reason))
    return list(candidates.values())


def _named_to_species(study: Study, unreviewed: Places) -> Places:
    taxon = study.survey.records.taxon[unreviewed]
    return unreviewed[np.isin(taxon, study.species_codes)]
