"""The survey as a long table: one line for each frame and taxon, in chunks, for tables and exports."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.study import Study
from edge.report.read.columns import column_names
from edge.report.read.details import Details, picked
from edge.report.read.local_time import NO_TIME, local_text
from edge.report.read.survey import DOUBTS, KINDS, METHODS, REASONS

CHUNK = 50_000
COLUMNS = column_names(
    "deployment captured_at kind scientific_name rank common_name count confidence reason method classified_by "
    "event class order family latitude longitude clock_doubt infrared path digest"
)


Columns = dict[str, list[Any]]
"""Columns of equal length by name."""


def long_table(study: Study, details: Details, part: slice) -> Columns:
    """Some lines of the table, which goes by deployment and time; `None` is not known."""
    survey = study.survey
    records, frames = survey.records, survey.frames
    frame, taxon = records.frame[part], records.taxon[part]
    at, local = frames.at[frame], frames.local[frame]
    deployment = frames.deployment[frame]
    event = study.events.of_record[part].astype(object) + 1
    event[event == 0] = None
    confidence = records.confidence[part]
    rounded = np.round(confidence.astype(np.float64), 4).astype(object)
    rounded[np.isnan(confidence)] = None
    count = records.count[part].astype(object)
    count[count == 0] = None
    infrared = frames.infrared[frame].astype(object)
    infrared[infrared < 0] = None
    paths = details.media(frame)

    def of_taxon(values: list[Any]) -> list[Any]:
        return picked([*values, None], taxon)  # -1 picks the last

    places, taxa = survey.deployments, survey.taxa
    columns: Columns = {
        "deployment": picked([d.name for d in places], deployment),
        "captured_at": _times(local, np.where(at == NO_TIME, 0, local - at)),
        "kind": picked(list(KINDS), records.kind[part]),
        "scientific_name": of_taxon([t.scientific_name for t in taxa]),
        "rank": of_taxon([t.rank or None for t in taxa]),
        "common_name": of_taxon([t.common_name or None for t in taxa]),
        "count": count.tolist(),
        "confidence": rounded.tolist(),
        "reason": picked([name or None for name in REASONS], records.reason[part]),
        "method": picked(list(METHODS), records.human[part].astype(np.int8)),
        "classified_by": details.classified_by(part),
        "event": event.tolist(),
        "class": of_taxon([t.class_ or None for t in taxa]),
        "order": of_taxon([t.order or None for t in taxa]),
        "family": of_taxon([t.family or None for t in taxa]),
        "latitude": picked([d.latitude for d in places], deployment),
        "longitude": picked([d.longitude for d in places], deployment),
        "clock_doubt": picked(DOUBT_TEXTS, frames.doubt[frame]),
        "infrared": infrared.tolist(),
        "path": [path for path, _ in paths],
        "digest": [digest for _, digest in paths],
    }
    return columns


DOUBT_TEXTS = [",".join(w for i, w in enumerate(DOUBTS) if code >> i & 1) or None for code in range(2 ** len(DOUBTS))]


def _times(local: NDArray[np.int64], offset: NDArray[np.int64]) -> list[str | None]:
    return [text or None for text in local_text(local, offset)]
