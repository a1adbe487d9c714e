"""`edge-db import megadetector FILE`: boxes of a detector that ran elsewhere, beside the frames' own decisions."""

import sqlite3
from pathlib import Path
from typing import Any

from edge.database.events.table import update_events
from edge.database.imports.detections import BadRow, imported_boxes, kind_called, read_json
from edge.database.imports.file_matching import FileEntry, Frames
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.imports.machine_answer import ImportedRow, imported_model, save_answer
from edge.database.transaction import writing
from edge.timestamps import iso_utc, now


def import_file(
    connection: sqlite3.Connection, path: Path, least_confidence: float = 0.2, strip: str = ""
) -> ImportResult:
    """Read boxes of at least `least_confidence` as the answer of the file's own detector.

    `strip` is a leading folder to take off the names. An image that is not as the format says is left out and named.
    One transaction. Raises `ImportProblem` for a file that is none of MegaDetector's.
    """
    document = _read(path)
    info, categories = document["info"], document["detection_categories"]
    name, version = str(info.get("detector") or "MegaDetector"), _version(info)
    outcome, at = ImportResult(), iso_utc(now())
    found: list[tuple[str, list[ImportedRow]]] = []
    for number, image in enumerate(document["images"], 1):
        try:
            boxes = _boxes(image, categories, least_confidence)
        except BadRow as error:
            outcome.bad_rows.append(f"{path}: image {number}: {error}; the image was left out")
            continue
        if boxes is None:
            outcome.passed_over += 1
        else:
            found.append((image["file"], boxes))
    frames = Frames(connection)
    entries = [FileEntry(file) for file, _ in found]
    matches = frames.match(entries, strip, lambda i, j: found[i][1] == found[j][1])
    outcome.take(matches, entries)
    with writing(connection):
        model = imported_model(connection, name, version)
        changed = []
        for (_, boxes), media in zip(found, matches.media, strict=True):
            if media is None:
                continue
            outcome.frames += 1
            outcome.rows += len(boxes)
            if save_answer(connection, model, media, None, boxes, at):
                outcome.new_rows += len(boxes)
                changed.append(media)
        update_events(connection, changed)
    return outcome


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path)
    wanted = {"info": dict, "detection_categories": dict, "images": list}
    if not isinstance(document, dict) or not all(isinstance(document.get(k), kind) for k, kind in wanted.items()):
        raise ImportProblem(f"{path} is no MegaDetector result; expected info, detection_categories and images")
    return document


def _version(info: dict[str, Any]) -> str:
    metadata = info.get("detector_metadata")
    return str(metadata.get("megadetector_version") or "") if isinstance(metadata, dict) else ""


def _boxes(image: object, categories: dict[str, Any], least_confidence: float) -> list[ImportedRow] | None:
    """The boxes of an image; `None` where the detector failed. Raises `BadRow`."""
    if not isinstance(image, dict) or not isinstance(image.get("file"), str) or not image["file"].strip():
        raise BadRow(f"it is {image!r:.60}; expected file and detections")
    if image.get("detections") is None and image.get("failure") is None:
        raise BadRow(f"{image['file']} has neither detections nor a failure; expected one of them")
    if image.get("detections") is None:
        return None
    try:
        return imported_boxes(
            image["detections"], lambda found: kind_called(categories.get(str(found.get("category")))), least_confidence
        )
    except BadRow as error:
        raise BadRow(f"{image['file']}: {error}") from error
