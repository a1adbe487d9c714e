"""Configurations: everything but the classifier's file that changes a decision, each kept once.

A configuration is the canonical JSON of what differs from the defaults: the detector's SHA-256, the lines of the
species list, the thresholds, an attention crop switched off. Paths, threads, power and the version of the software are
not part of it, for they change no decision.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.inference.predictor import Models
from edge.settings.options import Settings, read_species_list
from edge.settings.strict_toml import SettingsError

Document = dict[str, Any]
_SAVE = "INSERT INTO configuration (digest, document) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"


def configuration_of(settings: Settings, models: Models) -> Document:
    """What of the settings changes a decision, as far as it differs from the defaults."""
    species = None if settings.species_list is None else read_species_list(settings.species_list)
    detector = None if models.detector is None else models.detector.model.sha256
    return _document(species, detector, settings.thresholds, settings.second_look)


def of_old_run(settings: Mapping[str, Any]) -> Document:
    """The same out of the settings that a run of schema 1 stored; its species list only as far as it is still there."""
    species: tuple[str, ...] | None = None
    if path := settings.get("species_list"):
        try:
            species = read_species_list(Path(str(path)))
        except SettingsError:
            species = (f"# {path}",)
    detector = settings.get("detector_sha256")
    return _document(species, detector, settings.get("thresholds") or {}, settings.get("second_look", True))


def save_configuration(connection: sqlite3.Connection, document: Document) -> int:
    """The configuration's id, with a row of its own when it is new."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    connection.execute(_SAVE, (digest, text))
    (id_,) = connection.execute("SELECT id FROM configuration WHERE digest = ?", (digest,)).fetchone()
    return int(id_)


def _document(
    species: tuple[str, ...] | None, detector: str | None, thresholds: Mapping[str, float], second_look: bool
) -> Document:
    document: Document = {}
    if species is not None:
        document["species_list"] = sorted(species, key=str.lower)
    if detector is not None:
        document["detector"] = detector
    if thresholds:
        document["thresholds"] = {name: float(value) for name, value in thresholds.items()}
    if not second_look:
        document["second_look"] = False
    return document
