"""Bounding boxes as the files of detectors give them, checked."""

from collections.abc import Callable
from typing import Any

from edge.database.imports.json_document import BadRow, shown
from edge.database.imports.machine_answer import ImportedRow
from edge.inference.taxonomy import ROOT_NAME
from edge.vocabulary import DecisionReason, Kind

_KINDS = {"animal": Kind.ANIMAL, "person": Kind.HUMAN, "human": Kind.HUMAN, "vehicle": Kind.VEHICLE}
_MOST_BOXES = 1000
_ROUNDING = 0.01  # boxes at the border reach a little beyond it


def kind_called(name: object) -> Kind | None:
    """The kind that a category stands for; `None` for one that no box of ours can have."""
    return _KINDS.get(name.lower()) if isinstance(name, str) else None


def category_of(detection: dict[str, Any]) -> str:
    """The key of a detection's category, which some write as a number."""
    category = detection.get("category")
    return str(category) if isinstance(category, str | int) else ""


def imported_boxes(
    detections: object, kind_of: Callable[[dict[str, Any]], Kind | None], least_confidence: float
) -> list[ImportedRow]:
    """The bounding boxes of a frame of at least `least_confidence`. Raises `BadRow`."""
    if not isinstance(detections, list):
        raise BadRow(f"detections is {shown(detections)}; expected a list")
    if len(detections) > _MOST_BOXES:
        raise BadRow(f"it has {len(detections)} detections; expected at most {_MOST_BOXES}")
    boxes = []
    for detection in detections:
        if not isinstance(detection, dict):
            raise BadRow(f"a detection is {shown(detection)}; expected category, conf and bbox")
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
        raise BadRow(f"{name} is {shown(value)}; expected a number from 0 to 1")
    return min(float(value), 1.0)


def _box(value: object) -> tuple[float, float, float, float]:
    sides = value if isinstance(value, list) and len(value) == 4 else []
    numbers = [n for n in sides if isinstance(n, int | float) and not isinstance(n, bool)]
    if len(numbers) != 4 or not all(-_ROUNDING <= n <= 1 + _ROUNDING for n in numbers):  # nan is neither
        raise BadRow(f"bbox is {shown(value)}; expected four numbers from 0 to 1: left, top, width, height")
    x, y, width, height = (min(max(float(n), 0.0), 1.0) for n in numbers)
    return x, y, width, height
