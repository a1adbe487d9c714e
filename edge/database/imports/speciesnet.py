"""`edge-db import speciesnet FILE`: the predictions of SpeciesNet, beside the frames' own decisions."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.database.events.table import update_events
from edge.database.imports.detections import category_of, confidence_of, imported_boxes, kind_called
from edge.database.imports.file_matching import FileEntry, Frames
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.imports.json_document import BadRow, Document, decoded, shown, text_of
from edge.database.imports.machine_answer import ImportedModel, ImportedRow, imported_model, save_answer
from edge.database.transaction import writing
from edge.inference.taxonomy import ROOT_NAME
from edge.timestamps import iso_utc, now
from edge.vocabulary import DecisionReason, Kind

NAME = "SpeciesNet"
_CATEGORIES = {"1": "animal", "2": "human", "3": "vehicle"}
_KINDS = {"blank": Kind.BLANK, "human": Kind.HUMAN, "vehicle": Kind.VEHICLE}
_NOTHING = ("", "no cv result", "unknown", "failure")
_RANKS = ("class", "order", "family", "genus")
_CANDIDATES = 5
_LONGEST_LABEL = 500


@dataclass(frozen=True, slots=True)
class _Prediction:
    file: str
    version: str
    decision: ImportedRow | None
    boxes: list[ImportedRow]


def import_predictions(
    connection: sqlite3.Connection, path: Path, least_confidence: float = 0.2, strip: str = ""
) -> ImportResult:
    """Read the prediction of each frame and boxes of at least `least_confidence` as the answer of SpeciesNet.

    Where a frame has no decision of our models, reports show this one. `strip` is a leading folder to take off the
    names. An entry that is not as the format says is left out and named. One transaction. Raises `ImportProblem` for a
    file that is none of SpeciesNet's.
    """
    entries = Document.read(path).rows("predictions")
    if entries is None:
        raise ImportProblem(f"{path} is no SpeciesNet result; expected a list `predictions`; nothing was imported")
    outcome, at = ImportResult(), iso_utc(now())
    found = []
    for number, entry in enumerate(entries, 1):
        try:
            prediction = _prediction(decoded(entry), least_confidence)
        except BadRow as error:
            outcome.bad_rows.append(f"{path}: prediction {number}: {error}; the prediction was left out")
            continue
        if prediction.decision is None and not prediction.boxes:
            outcome.passed_over += 1
        else:
            found.append(prediction)
    frames = Frames(connection)
    files = [FileEntry(prediction.file) for prediction in found]
    matches = frames.match(files, strip, lambda i, j: found[i] == found[j])
    outcome.take(matches, files)
    with writing(connection):
        models: dict[str, ImportedModel] = {}
        changed = []
        for prediction, media in zip(found, matches.media, strict=True):
            if media is None:
                continue
            if prediction.version not in models:
                models[prediction.version] = imported_model(connection, NAME, prediction.version)
            rows = len(prediction.boxes) + (prediction.decision is not None)
            outcome.frames += 1
            outcome.rows += rows
            if save_answer(connection, models[prediction.version], media, prediction.decision, prediction.boxes, at):
                outcome.new_rows += rows
                changed.append(media)
        update_events(connection, changed)
    return outcome


def _prediction(entry: object, least_confidence: float) -> _Prediction:
    """What SpeciesNet says of one frame. Raises `BadRow`."""
    if not isinstance(entry, dict) or not isinstance(entry.get("filepath"), str) or not entry["filepath"].strip():
        raise BadRow(f"it is {shown(entry)}; expected filepath and prediction")
    file, version = entry["filepath"], entry.get("model_version")
    try:
        version = text_of(str(version) if isinstance(version, int | float) else version, "model_version")
        boxes = imported_boxes(entry.get("detections") or [], _kind_of, least_confidence)
        return _Prediction(file, version, _decision(entry), boxes)
    except BadRow as error:
        raise BadRow(f"{file:.200}: {error}") from error


def _kind_of(detection: dict[str, Any]) -> Kind | None:
    return kind_called(detection.get("label") or _CATEGORIES.get(category_of(detection)))


def _decision(entry: dict[str, Any]) -> ImportedRow | None:
    """The frame's own row; `None` where SpeciesNet failed."""
    label = entry.get("prediction")
    if label is None:
        return None
    kind, taxon, rank, common = _taxon(label)
    score = entry.get("prediction_score")
    source = text_of(entry.get("prediction_source"), "prediction_source")
    reason = (
        DecisionReason.BLANK
        if kind is Kind.BLANK
        else DecisionReason.BELOW_THRESHOLD
        if kind is Kind.UNKNOWN
        else DecisionReason.ROLLED_UP
        if "rollup" in source
        else DecisionReason.CONFIDENT
    )
    confidence = None if score is None else confidence_of(score, "prediction_score")
    return ImportedRow(kind, taxon, rank, common, confidence, reason, None, _candidates(entry))


def _candidates(entry: dict[str, Any]) -> tuple[tuple[str, str | None, float], ...]:
    """The classifier's top answers."""
    found = entry.get("classifications")
    if not isinstance(found, dict):
        return ()
    classes, scores = found.get("classes") or [], found.get("scores") or []
    if not isinstance(classes, list) or not isinstance(scores, list):
        raise BadRow(f"classes and scores are {shown(classes)} and {shown(scores)}; expected two lists")
    candidates = []
    for label, score in list(zip(classes, scores, strict=False))[:_CANDIDATES]:
        kind, taxon, rank, _ = _taxon(label)
        candidates.append((taxon or kind.value, rank, confidence_of(score, "a score")))
    return tuple(candidates)


def _taxon(label: object) -> tuple[Kind, str | None, str | None, str | None]:
    """(kind, taxon, rank, common name) of a label: `uuid;class;order;family;genus;species;common name`.

    Raises `BadRow`.
    """
    parts = [part.strip() for part in text_of(label, "the label", _LONGEST_LABEL).split(";")]
    if len(parts) != 7:
        raise BadRow(f"the label is {shown(label)}; expected uuid;class;order;family;genus;species;common name")
    *ranks, species, common = parts[1:]
    if common.lower() in _KINDS:
        kind = _KINDS[common.lower()]
        return kind, None, None, kind.value
    if common.lower() in _NOTHING and not (ranks[0] and ranks[0].lower() not in _NOTHING):
        return Kind.UNKNOWN, None, None, Kind.UNKNOWN.value
    genus = ranks[3].capitalize()
    if species and genus:
        return Kind.ANIMAL, f"{genus} {species.lower()}", "species", common or None
    rank, name = next(
        ((rank, name) for rank, name in zip(reversed(_RANKS), reversed(ranks), strict=True) if name),
        ("kingdom", ROOT_NAME),
    )
    return Kind.ANIMAL, name.capitalize(), rank, common or None
