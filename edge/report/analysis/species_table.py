"""The species table: one row for each taxon, with its events, frames and dates."""

from dataclasses import dataclass

import numpy as np

from edge.inference.taxonomy import Taxon
from edge.report.analysis.abundance import Abundance, abundances
from edge.report.analysis.events import Events
from edge.report.analysis.sampling_effort import Effort
from edge.report.read.local_time import NO_TIME
from edge.report.read.survey import ANIMAL, Survey


@dataclass(frozen=True, slots=True)
class Row:
    """A taxon of the report. Times are local seconds."""

    code: int
    """Place in `Survey.taxa`."""
    taxon: Taxon
    frames: int
    abundance: Abundance
    first: int
    """`NO_TIME` when no frame has a believable time."""
    last: int

    @property
    def why_no_event(self) -> str:
        """Why a taxon with frames has no event."""
        if self.first == NO_TIME:
            return "no frame with a usable time"
        return "only in the events of other taxa"

    @property
    def name(self) -> str:
        """Common name, or the scientific name of a taxon that has none."""
        return self.taxon.common_name or self.taxon.scientific_name


def species_rows(survey: Survey, events: Events, efforts: tuple[Effort, ...]) -> list[Row]:
    """Taxa by falling number of events, then of frames; species before higher taxa."""
    records, frames = survey.records, survey.frames
    animals = np.flatnonzero((records.kind == ANIMAL) & (records.taxon >= 0))
    taxon, frame = records.taxon[animals], records.frame[animals]
    codes = np.unique(np.concatenate([taxon, events.taxon[events.animals]])).tolist()
    codes = [code for code in codes if code >= 0]
    good = frames.clock_good[frame]
    seen = events.rated
    starts, event_taxon = events.local_start[seen], events.taxon[seen]
    rows = []
    for code, abundance in zip(codes, abundances(events, efforts, codes), strict=True):
        mine = taxon == code
        local = np.concatenate([frames.local[frame[mine & good]], starts[event_taxon == code]])
        rows.append(
            Row(
                code,
                survey.taxa[code],
                len(np.unique(frame[mine])),
                abundance,
                int(local.min()) if len(local) else NO_TIME,
                int(local.max()) if len(local) else NO_TIME,
            )
        )
    return sorted(rows, key=lambda row: (row.taxon.rank != "species", -row.abundance.events, -row.frames, row.code))
