"""Summary of the models of a report: licence, origin, and weaknesses for the species that were seen."""

from dataclasses import dataclass

import numpy as np

from edge.report.analysis.study import Study
from edge.vocabulary import Kind

WEAK_RECALL = 0.7
LEAST_IMAGES = 5


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model of the report."""

    title: str
    created: str
    frames: int
    """Frames of this report with its decision."""
    labels: int
    licence: str
    knows_people: bool
    notes: tuple[str, ...]
    weak: tuple[str, ...]
    """One line for each species seen that the model often misses, or that it was hardly tested on."""
    sources: tuple[str, ...]
    fitted_on: str
    readable: bool
    """Whether this version of the software can read the model card."""


def summarise_models(study: Study) -> list[ModelSummary]:
    """Each model with decisions in the report, most frames first."""
    survey = study.survey
    counts = np.bincount(survey.records.model[survey.records.model >= 0], minlength=len(survey.models))
    summaries = []
    for place in np.argsort(-counts, kind="stable").tolist():
        model = survey.models[place]
        if not counts[place]:
            continue
        card = model.card
        if card is None:
            nothing: tuple[str, ...] = ()
            summaries.append(
                ModelSummary(model.title, "", int(counts[place]), 0, "", False, nothing, nothing, nothing, "", False)
            )
            continue
        summaries.append(
            ModelSummary(
                model.title,
                card.created[:10],
                int(counts[place]),
                len(card.labels),
                card.licence,
                any(label.kind == Kind.HUMAN for label in card.labels),
                card.notes,
                tuple(_weak(study, place)),
                tuple(f"{s.name} ({s.role}, {s.licence})" for s in card.sources),
                card.calibration.fitted_on,
                True,
            )
        )
    return summaries


def _weak(study: Study, place: int) -> list[str]:
    """Lines for species seen whose measured recall is low, or that were tested on few frames."""
    card = study.survey.models[place].card
    if card is None or card.gate is None:
        return []
    records = study.survey.records
    seen = {study.survey.taxa[c].scientific_name for c in np.unique(records.taxon[records.model == place]) if c >= 0}
    proofs = {proof.label: proof for proof in card.gate.labels}
    lines = []
    for label in card.labels:
        proof = proofs.get(label.name)
        if label.taxon is None or label.taxon.scientific_name not in seen or proof is None:
            continue
        name = label.common_name or label.taxon.scientific_name
        if proof.recall_int8 < WEAK_RECALL and proof.images >= LEAST_IMAGES:
            lines.append(
                f"{name}: {proof.recall_int8:.0%} of its test frames recognised "
                f"({proof.interval_low:.0%}–{proof.interval_high:.0%}, {proof.images} frames)"
            )
        elif proof.verdict != "passed" or proof.images < LEAST_IMAGES:
            lines.append(f"{name}: tested on {proof.images} frame{'s' if proof.images != 1 else ''} only")
    return lines
