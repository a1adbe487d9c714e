"""`edge-report events`: one line for each independent event."""

from typing import Any

import numpy as np

from edge.host.output_file import begins_with
from edge.report.analysis.study import Study
from edge.report.formats.csv import write_table
from edge.report.output import Output, Written, counted
from edge.report.read.details import picked
from edge.report.read.local_time import local_text
from edge.report.read.survey import KINDS, METHODS

is_own = begins_with("event", "deployment", "start", "end", "kind", "scientific_name", "rank", "common_name", "frames")


def write(study: Study, output: Output) -> Written:
    """Write the table."""
    columns = _columns(study)
    with output.text() as file:
        write_table(file, columns, zip(*columns.values(), strict=True))
    return Written(counted(len(study.events), "event"))


def _columns(study: Study) -> dict[str, list[Any]]:
    events, taxa = study.events, study.survey.taxa
    shift = events.local_start - events.start
    confidence = np.round(events.confidence.astype(np.float64), 4).tolist()
    return {
        "event": list(range(1, len(events) + 1)),
        "deployment": picked([d.name for d in study.survey.deployments], events.deployment),
        "start": list(local_text(events.local_start, shift)),
        "end": list(local_text(events.end + shift, shift)),
        "kind": picked(list(KINDS), events.kind),
        "scientific_name": picked([*(t.scientific_name for t in taxa), None], events.taxon),
        "rank": picked([*(t.rank for t in taxa), None], events.taxon),
        "common_name": picked([*(t.common_name for t in taxa), None], events.taxon),
        "frames": events.frames.tolist(),
        "count": [count or None for count in events.count.tolist()],
        "confidence": [None if value != value else value for value in confidence],
        "method": picked(list(METHODS), events.human.astype(np.int8)),
    }
