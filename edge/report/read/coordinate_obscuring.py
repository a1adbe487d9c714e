"""Coarser coordinates for cameras that recorded sensitive species."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edge.database.taxon_index import lineage_of
from edge.inference.taxonomy import Taxon
from edge.report.read.survey import ANIMAL, Survey


def _names(taxon: Taxon) -> set[str]:
    """Names of a taxon and its ancestors in lower case."""
    return {taxon.common_name.lower(), *(name.lower() for _, name in lineage_of(taxon))}


def obscure(survey: Survey, km: float, sensitive: Iterable[str]) -> Survey:
    """Coarsen coordinates to squares of `km`.

    With names in `sensitive` (of any rank), only of deployments that recorded such a taxon; without, of all.
    """
    names = {name.strip().lower() for name in sensitive}
    records, frames = survey.records, survey.frames
    marked = np.array([bool(names & _names(taxon)) for taxon in survey.taxa] or [False])
    seen = (records.kind == ANIMAL) & (records.taxon >= 0) & marked[records.taxon]
    seen |= (records.event_taxon >= 0) & marked[records.event_taxon]
    with_sensitive = set(frames.deployment[records.frame[seen]].tolist())
    return replace(
        survey,
        deployments=tuple(
            deployment.obscured(km) if not names or place in with_sensitive else deployment
            for place, deployment in enumerate(survey.deployments)
        ),
    )
