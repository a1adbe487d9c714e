"""Bounding boxes as the files of detectors give them, checked."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.database.imports.import_result import ImportProblem
from edge.database.imports.machine_answer import ImportedRow
from edge.host.text_file import read_text
from edge.inference.taxonomy import ROOT_NAME
from edge.vocabulary import DecisionReason, Kind

_KINDS = {"animal": Kind.ANIMAL, "person": Kind.HUMAN, "human": Kind.HUMAN, "vehicle": Kind.VEHICLE}
_ROUNDING = 0.01  # boxes at the border reach a little beyond it


class BadRow(Exception):
    """An entry that cannot be meant: what is there and what was expected."""


def read_json(path: Path) -> Any:
    """The document in a file. Raises `ImportProblem`."""
    try:
        return json.loads(read_text(path))
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise ImportProblem(f"{path} is no JSON ({error}); nothing was imported; save it anew as UTF-8") from error


def kind_called(name: object) -> Kind | None:
    """The kind that a category stands for; `None` for one that no box of ours can have."""
    return _KINDS.get(str(name).lower())


def imported_boxes(
    detections: object, kind_of: Callable[[dict[str, Any]], Kind | None], least_confidence: float
) -> list[ImportedRow]:
    """The bounding boxes of a frame of at least `least_confidence`. Raises `BadRow`."""
    if not isinstance(detections, list):
        raise BadRow(f"detections is {detections!r:.60}; expected a list")
    boxes = []
    for detection in detections:
        if not isinstance(detection, dict):
            raise BadRow(f"a detection is {detection!r:.60}; expected category, conf and bbox")
        kind, confidence = kind_of(detection), confidence_of(detection.get("conf"), "conf")
        box = _box(detection.get("bbox"))
        if kind is None or confidence < least_confidence:
            continue
        taxon, rank = (ROOT_NAME, "kingdom") if kind is Kind.ANIMAL else (None, None)
        boxes.append(ImportedRow(kind, taxon, rank, kind.value, confidence, DecisionReason.CONFIDENT, box))
    return boxes


def confidence_of(value: object, name: str) -> float:
    """A probability. Raises `BadRow`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 + _ROUNDING:
        raise BadRow(f"{name} is {value!r:.60}; expected a number from 0 to 1")
    return min(float(value), 1.0)


def _box(value: object) -> tuple[float, float, float, float]:
    numbers = [n for n in value if isinstance(n, int | float)] if isinstance(value, list) else []
    if len(numbers) != 4 or not all(math.isfinite(n) and -_ROUNDING <= n <= 1 + _ROUNDING for n in numbers):
        raise BadRow(f"bbox is {value!r:.60}; expected four numbers from 0 to 1: left, top, width, height")
    x, y, width, height = (min(max(float(n), 0.0), 1.0) for n in numbers)
    return x, y, width, height
