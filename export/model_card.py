"""The model card of a checkpoint, before and after calibration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.inference.card import Calibration, Card, Source
from edge.inference.taxonomy import RANKS
from export.model_file import toolchain
from export.validation.thresholds import UNPROVEN_THRESHOLD
from train.model.checkpoint import Checkpoint

PROVISIONAL = Calibration(1.0, dict.fromkeys(RANKS, 0.5) | {"blank": 0.5})
"""Calibration of a card before anything is fitted."""


def card_of(checkpoint: Checkpoint, calibration_data: str) -> Card:
    """The card before anything is fitted; `calibration_data` names the data that will be used."""
    return Card(
        name=checkpoint.name,
        version=checkpoint.version,
        created=checkpoint.created,
        labels=checkpoint.labels,
        input_height_px=checkpoint.input_height_px,
        input_width_px=checkpoint.input_width_px,
        calibration=PROVISIONAL,
        fit=checkpoint.fit,
        higher_taxa=checkpoint.higher_taxa,
        metrics=dict(checkpoint.metrics),
        recipe=_without_folders(checkpoint.recipe) | {"training_data": checkpoint.data},
        sources=(
            *checkpoint.sources,
            Source(calibration_data, "calibration data", "stays with its owners; none is in the file"),
        ),
        licence=checkpoint.licence,
        toolchain=toolchain(),
        notes=checkpoint.notes,
    )


def with_enrolled(card: Card, checkpoint: Checkpoint) -> Card:
    """The card with the enrolled species, whose thresholds are high because nothing was fitted or proven on them."""
    if not checkpoint.enrolled:
        return card
    labels = (*card.labels, *checkpoint.enrolled)
    kept = {label.name for label in labels}
    names = tuple(label.name for label in checkpoint.enrolled)
    thresholds = card.calibration.label_thresholds | dict.fromkeys(names, UNPROVEN_THRESHOLD)
    note = f"Enrolled by a few images, without training; no figure here covers it: {', '.join(names)}."
    return replace(
        card,
        labels=labels,
        enrolled=names,
        prototype_scale=checkpoint.prototype_scale,
        prototypes={
            name: tuple(round(value, 4) for value in vector)
            for name, vector in checkpoint.prototypes.items()
            if name in kept
        },
        calibration=replace(card.calibration, label_thresholds=thresholds),
        notes=(*card.notes, note),
    )


def _without_folders(value: Any) -> Any:
    """The recipe with files named without their folders: the card may be given to anyone."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
