"""The table that a report begins with: one row for each taxon."""

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
    """`NO_TIME` when no frame has a time."""
    last: int
    most_together: int
    """Largest count in one frame; 0 where nobody counted."""
    reviewed: int
    """Frames that a person looked at."""
    mean_confidence: float
    """Of the model's answers, NaN when there is none."""
    deployments: int


def species_rows(survey: Survey, events: Events, efforts: tuple[Effort, ...]) -> list[Row]:
    """Taxa by falling number of events, then frames; species before coarser answers."""
    records, frames = survey.records, survey.frames
    animals = np.flatnonzero((records.kind == ANIMAL) & (records.taxon >= 0))
    taxon, frame = records.taxon[animals], records.frame[animals]
    codes = np.unique(np.concatenate([taxon, events.taxon[events.animals]])).tolist()
    codes = [code for code in codes if code >= 0]
    good = frames.clock_good[frame]
    seen = events.animals & events.clock_good
    starts, visit_taxon = events.local_start[seen], events.taxon[seen]
    rows = []
    for code, abundance in zip(codes, abundances(events, efforts, codes), strict=True):
        mine = taxon == code
        local = np.concatenate([frames.local[frame[mine & good]], starts[visit_taxon == code]])
        confidence = records.confidence[animals][mine & ~records.human[animals]]
        rows.append(
            Row(
                code,
                survey.taxa[code],
                len(np.unique(frame[mine])),
                abundance,
                int(local.min()) if len(local) else NO_TIME,
                int(local.max()) if len(local) else NO_TIME,
                int(
                    max(records.count[animals][mine].max(initial=0), events.count[events.taxon == code].max(initial=0))
                ),
                int(records.human[animals][mine].sum()),
                float(confidence.mean()) if len(confidence) else float("nan"),
                len(np.unique(frames.deployment[frame[mine]])),
            )
        )
    return sorted(rows, key=lambda row: (row.taxon.rank != "species", -row.abundance.events, -row.frames, row.code))
