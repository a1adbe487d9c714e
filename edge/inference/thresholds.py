"""Check of the thresholds that a user sets instead of the model's."""

from collections.abc import Mapping, Sequence

from edge.inference.card import Label
from edge.inference.taxonomy import RANKS
from edge.settings.strict_toml import SettingsError, nearest

KINDS = ("blank", "human", "vehicle")
DETECTION = "detection"
"""Least score of a detector's bounding box."""


def check_thresholds(thresholds: Mapping[str, float], labels: Sequence[Label], place: str = "thresholds") -> None:
    """Raise `SettingsError` for a name without meaning for a model with these labels, and for no probability.

    `place` is where they were given, for people.
    """
    kinds = {label.name: label.kind for label in labels if label.taxon is None}
    known = dict.fromkeys((*RANKS, *KINDS, DETECTION, *(label.name for label in labels if label.taxon is not None)))
    for name, value in thresholds.items():
        if name not in known:
            kind = kinds.get(name)
            advice = f"this label is of the kind {kind}: set {kind}" if kind else nearest(name, known)
            raise SettingsError(
                f"{place}: {name!r} is neither a rank, nor a kind, nor `{DETECTION}`, nor a label of the model;"
                f" {advice}"
            )
        if not 0 <= value <= 1:
            raise SettingsError(f"{place}: {name} is {value}: expected a number from 0 to 1")
