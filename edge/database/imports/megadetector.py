"""`edge-db import megadetector FILE`: boxes of a detector that ran elsewhere, beside the frames' own decisions."""

import sqlite3
from pathlib import Path
from typing import Any

from edge.database.events.table import update_events
from edge.database.imports.detections import category_of, imported_boxes, kind_called
from edge.database.imports.file_matching import FileEntry, Frames
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.imports.json_document import BadRow, Document, decoded, shown, text_of
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
    name, version, categories, images = _read(path)
    outcome, at = ImportResult(), iso_utc(now())

    def boxes_of(entry: object) -> tuple[str, list[ImportedRow] | None]:
        return _boxes(decoded(entry), categories, least_confidence)

    # Entries are kept as they are and read once more when they are saved: boxes of a million images take much memory.
    found: list[tuple[str, object]] = []
    for number, entry in enumerate(images, 1):
        try:
            file, boxes = boxes_of(entry)
        except BadRow as error:
            outcome.bad_rows.append(f"{path}: image {number}: {error}; the image was left out")
            continue
        if boxes is None:
            outcome.passed_over += 1
        else:
            found.append((file, entry))
    frames = Frames(connection)
    entries = [FileEntry(file) for file, _ in found]
    matches = frames.match(entries, strip, lambda i, j: boxes_of(found[i][1])[1] == boxes_of(found[j][1])[1])
    outcome.take(matches, entries)
    with writing(connection):
        model = imported_model(connection, name, version)
        changed = []
        for (_, entry), media in zip(found, matches.media, strict=True):
            if media is None:
                continue
            boxes = boxes_of(entry)[1] or []
            outcome.frames += 1
            outcome.rows += len(boxes)
            if save_answer(connection, model, media, None, boxes, at):
                outcome.new_rows += len(boxes)
                changed.append(media)
        update_events(connection, changed)
    return outcome


def _read(path: Path) -> tuple[str, str, dict[str, Any], list[Any]]:
    """Name and version of the detector, its categories, and the entries of images."""
    document = Document.read(path)
    info, categories, images = document.get("info"), document.get("detection_categories"), document.rows("images")
    if not isinstance(info, dict) or not isinstance(categories, dict) or images is None:
        raise ImportProblem(f"{path} is no MegaDetector result; expected info, detection_categories and images")
    metadata = info.get("detector_metadata")
    version = metadata.get("megadetector_version") if isinstance(metadata, dict) else None
    try:
        return (
            text_of(info.get("detector"), "detector") or "MegaDetector",
            text_of(str(version) if isinstance(version, int | float) else version, "megadetector_version"),
            categories,
            images,
        )
    except BadRow as error:
        raise ImportProblem(f"{path}: {error}; nothing was imported") from error


def _boxes(image: object, categories: dict[str, Any], least_confidence: float) -> tuple[str, list[ImportedRow] | None]:
    """The file of an image, and its boxes; `None` where the detector failed. Raises `BadRow`."""
    if not isinstance(image, dict) or not isinstance(image.get("file"), str) or not image["file"].strip():
        raise BadRow(f"it is {shown(image)}; expected file and detections")
    if image.get("detections") is None and image.get("failure") is None:
        raise BadRow(f"{image['file']:.200} has neither detections nor a failure; expected one of them")
    if image.get("detections") is None:
        return image["file"], None
    try:
        return image["file"], imported_boxes(
            image["detections"], lambda found: kind_called(categories.get(category_of(found))), least_confidence
        )
    except BadRow as error:
        raise BadRow(f"{image['file']:.200}: {error}") from error
