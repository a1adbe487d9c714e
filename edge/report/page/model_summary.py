"""What the model says about itself, where it matters for the species that were seen."""

from dataclasses import dataclass

import numpy as np

from edge.report.analysis.study import Study
from edge.vocabulary import Kind

WEAK_RECALL = 0.7
LEAST_IMAGES = 5


@dataclass(frozen=True, slots=True)
class ModelWords:
    """One model of the report."""

    title: str
    created: str
    answers: int
    """Frames of this report that it answered."""
    labels: int
    licence: str
    knows_people: bool
    notes: tuple[str, ...]
    weak: tuple[str, ...]
    """One line for each species seen that the model is known to be weak at, or was never tested on."""
    sources: tuple[str, ...]
    fitted_on: str
    readable: bool


def model_words(study: Study) -> list[ModelWords]:
    """Each model that answered, most answers first."""
    survey = study.survey
    counts = np.bincount(survey.records.model[survey.records.model >= 0], minlength=len(survey.models))
    words = []
    for place in np.argsort(-counts, kind="stable").tolist():
        model = survey.models[place]
        if not counts[place]:
            continue
        card = model.card
        if card is None:
            nothing: tuple[str, ...] = ()
            words.append(
                ModelWords(model.title, "", int(counts[place]), 0, "", False, nothing, nothing, nothing, "", False)
            )
            continue
        words.append(
            ModelWords(
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
    return words


def _weak(study: Study, place: int) -> list[str]:
    """Species seen whose recall was measured low, or whose int8 proof is missing."""
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
