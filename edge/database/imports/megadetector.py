"""`edge-db import megadetector FILE`: boxes of a detector that ran elsewhere, beside the frames' own decisions."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from edge.database.events.table import update_events
from edge.database.imports.file_matching import Frames
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.timestamps import iso_utc, now

_KINDS = {"animal": "animal", "person": "human", "human": "human", "vehicle": "vehicle"}
_NEW_BOX = """
INSERT INTO observation (media, run, model, subject, kind, taxon, rank, common_name, confidence, reason, box_x, box_y,
    box_width, box_height, box_source, method, classified_by, classified_at)
VALUES (?, NULL, NULL, ?, ?, ?, ?, ?, ?, 'confident', ?, ?, ?, ?, 'imported', 'machine', ?, ?)
"""
_OLD_BOXES = "DELETE FROM observation WHERE media = ? AND box_source = 'imported' AND classified_by = ?"
_HIGHEST = "SELECT coalesce(max(subject), 0) FROM observation WHERE media = ?"


def import_file(connection: sqlite3.Connection, path: Path, least_confidence: float = 0.2) -> ImportResult:
    """Read boxes of at least `least_confidence`; the same detector's earlier boxes of a frame are replaced.

    One transaction: all of the file or nothing. Raises `ImportProblem` for a file that is none of MegaDetector's.
    """
    document = _read(path)
    by = str(document["info"].get("detector") or "MegaDetector")
    kinds = {str(id_): _KINDS.get(str(name).lower()) for id_, name in document["detection_categories"].items()}
    frames, outcome, at = Frames(connection), ImportResult(), iso_utc(now())
    connection.execute("BEGIN IMMEDIATE")
    try:
        changed = []
        for image in document["images"]:
            detections = image.get("detections")
            if detections is None:
                outcome.passed_over += 1
                continue
            media = frames.by_path(str(image["file"]))
            if media is None:
                outcome.not_found.append(str(image["file"]))
                continue
            connection.execute(_OLD_BOXES, (media, by))
            (subject,) = connection.execute(_HIGHEST, (media,)).fetchone()
            for detection in detections:
                kind = kinds.get(str(detection["category"]))
                if kind is None or float(detection["conf"]) < least_confidence:
                    continue
                subject += 1
                taxon = ("Animalia", "kingdom", "animal") if kind == "animal" else (None, None, kind)
                box = [min(max(float(value), 0.0), 1.0) for value in detection["bbox"]]
                connection.execute(_NEW_BOX, (media, subject, kind, *taxon, float(detection["conf"]), *box, by, at))
                outcome.rows += 1
            outcome.frames += 1
            changed.append(media)
        update_events(connection, changed)
    except (KeyError, TypeError, ValueError) as error:
        connection.execute("ROLLBACK")
        raise ImportProblem(f"{path}: an image is not as the format says ({error!r}); nothing was imported") from error
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return outcome


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ImportProblem(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ImportProblem(f"{path} is no JSON: {error}") from error
    wanted = {"info": dict, "detection_categories": dict, "images": list}
    if not isinstance(document, dict) or not all(isinstance(document.get(k), kind) for k, kind in wanted.items()):
        raise ImportProblem(f"{path} is no MegaDetector result; expected info, detection_categories and images")
    return document
