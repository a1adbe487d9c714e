"""Runs a detector, which finds the bounding boxes of animals, people and vehicles in a frame.

The model is any ONNX detector with a model card (`python -m export adopt --boxes LAYOUT`). Its output `detections` has
one of these layouts, each with C labels; pixels are those of the network's input:

yolov5: float32[N, A, 5 + C]; centre x, centre y, width, height in pixels, objectness, label scores (MegaDetector v5).
yolov9: float32[N, 4 + C, A]; centre x, centre y, width, height in pixels, label scores (also YOLOv8 and 11).
yolov10: float32[N, Q, 6]; left, top, right, bottom in pixels, score, label's place; free of duplicates.
rtdetr: float32[N, Q, 4 + C]; centre x, centre y, width, height in fractions, label scores; free of duplicates.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.image.decode import DecodedFrame
from edge.inference.card import Boxes
from edge.inference.model import Model, ModelError
from edge.inference.probabilities import FloatArray
from edge.vocabulary import Kind

_DECIMALS = 5  # of a box's fractions, finer than any pixel
MOST_BOXES = 300  # in a frame, the most confident ones; software for these layouts usually keeps as many
_MOST_COMPARED = 3000  # boxes compared for duplicates, so that no frame takes minutes


@dataclass(frozen=True, slots=True)
class Detection:
    """One bounding box of a frame."""

    kind: Kind
    box: Box
    """In fractions of the upright frame's width and height."""
    confidence: float
    """The detector's score, 0..1."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The bounding boxes of one frame."""

    boxes: tuple[Detection, ...]
    """Boxes that reach the least score, most confident first."""
    strongest: float
    """The highest score of any box, 0..1, boxes below the least score included."""


class Detector:
    """A detector; `least_score` overrides its model card's own. Raises `ModelError` for a file that is none."""

    def __init__(self, path: Path | str, threads: int = 1, least_score: float | None = None) -> None:
        self.model = Model(path, threads)
        card = self.model.card
        if card.task != "detect" or card.boxes is None:
            raise ModelError(f"{path}: its card says that it classifies; give --detector a model that detects")
        if "detections" not in self.model.output_names:
            raise ModelError(f"{path}: it has no output `detections`; adopt the detector again")
        self._how: Boxes = card.boxes if least_score is None else replace(card.boxes, least_score=least_score)

    def detect(self, frame: DecodedFrame) -> Detections:
        """The bounding boxes of a frame. Raises `ModelError` where the output is not as the card's layout says."""
        card = self.model.card
        (raw,) = self.model.outputs(self.model.pixels(frame)[None])["detections"]
        columns = {"yolov5": 5 + len(card.labels), "yolov10": 6}.get(self._how.layout, 4 + len(card.labels))
        if raw.ndim != 2 or raw.shape[0 if self._how.layout == "yolov9" else 1] != columns:
            raise ModelError(f"{self.model.path}: `detections` has the shape {raw.shape}; expected {columns} columns")
        corners, scores, labels, strongest = decode(raw, self._how, card.input_height_px, card.input_width_px)
        if not (np.isfinite(strongest) and np.isfinite(corners).all()):
            raise ModelError(f"{self.model.path}: its boxes of an image are no numbers")
        fractions = _frame_fractions(corners, frame, card.input_height_px, card.input_width_px, card.fit)
        places = fractions.astype(np.float64).round(_DECIMALS)
        rows = zip(places.tolist(), scores.tolist(), labels.tolist(), strict=True)
        found = [
            Detection(card.labels[label].kind, Box(x, y, right - x, bottom - y), min(score, 1.0))
            for (x, y, right, bottom), score, label in rows
            if right > x and bottom > y and 0 <= label < len(card.labels)
        ]
        return Detections(tuple(found[:MOST_BOXES]), strongest)


def decode(
    rows: FloatArray, how: Boxes, height_px: int, width_px: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64], float]:
    """(corners float32[K, 4] as left, top, right, bottom in input pixels; scores float32[K]; labels int64[K]; the
    highest score of all rows).

    `rows` is one frame's part of the output, in the layout that `how` names. The most confident box comes first.
    """
    if how.layout == "yolov10":
        corners, scores, labels = rows[:, :4], rows[:, 4], np.nan_to_num(rows[:, 5], nan=-1).astype(np.int64)
    else:
        table = rows.T if how.layout == "yolov9" else rows
        first = 5 if how.layout == "yolov5" else 4
        each = table[:, first:] * table[:, 4:5] if how.layout == "yolov5" else table[:, first:]
        labels, scores = each.argmax(axis=1), each.max(axis=1)
        size = np.array([width_px, height_px] * 2, np.float32) if how.layout == "rtdetr" else np.float32(1)
        centre, half = table[:, :2], table[:, 2:4] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1) * size
    strongest = float(np.clip(scores.max(initial=0.0), 0.0, 1.0))
    kept = np.flatnonzero(scores >= how.least_score)
    corners, scores, labels = corners[kept], scores[kept], labels[kept]
    if how.layout in ("yolov5", "yolov9") and len(scores):
        kept = _without_duplicates(corners, scores, labels, how.overlap)
        corners, scores, labels = corners[kept], scores[kept], labels[kept]
    order = np.argsort(-scores, kind="stable")
    corners, scores, labels = np.asarray(corners[order], np.float32), scores[order], labels[order].astype(np.int64)
    return corners, np.asarray(scores, np.float32), labels, strongest


def _without_duplicates(
    corners: FloatArray, scores: FloatArray, labels: NDArray[np.int64], overlap: float
) -> NDArray[np.intp]:
    """Places of the boxes that no stronger box of the same label covers (greedy non-maximum suppression)."""
    area = np.maximum(corners[:, 2:] - corners[:, :2], 0).prod(axis=1)
    kept: list[int] = []
    waiting = np.argsort(-scores, kind="stable")[:_MOST_COMPARED]
    while len(waiting):
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[waiting, :2])
        high = np.minimum(corners[best, 2:], corners[waiting, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        union = np.maximum(area[best] + area[waiting] - shared, np.finfo(np.float32).tiny)
        waiting = waiting[(shared / union <= overlap) | (labels[waiting] != labels[best])]
    return np.array(kept, np.intp)


def _frame_fractions(corners: FloatArray, frame: DecodedFrame, height_px: int, width_px: int, mode: str) -> FloatArray:
    """Corners in input pixels -> fractions of the frame, cut at its edges: `edge.image.decode.fit` backwards."""
    height, width = frame.pixels.shape[:2]
    left, top, wide, high = 0.0, 0.0, float(width_px), float(height_px)
    if mode == "letterbox":
        scale = min(height_px / height, width_px / width)
        high, wide = float(max(1, round(height * scale))), float(max(1, round(width * scale)))
        top, left = float((height_px - int(high)) // 2), float((width_px - int(wide)) // 2)
    elif mode == "crop":
        scale = max(height_px / height, width_px / width)
        cut_high, cut_wide = min(height, round(height_px / scale)), min(width, round(width_px / scale))
        high, wide = height * height_px / cut_high, width * width_px / cut_wide
        top = -((height - cut_high) // 2) * height_px / cut_high
        left = -((width - cut_wide) // 2) * width_px / cut_wide
    fractions = (corners - np.array([left, top] * 2, np.float32)) / np.array([wide, high] * 2, np.float32)
    return np.asarray(np.clip(fractions, 0.0, 1.0), np.float32)
