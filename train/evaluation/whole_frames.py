"""Classifies labelled frames with the device's pipeline: by the whole frame, and with its attention crop."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from edge.capture.capture_time import capture_time, read_time
from edge.image.box import Box
from edge.image.decode import decode
from edge.image.exif import Exif
from edge.inference.attention_crop import decode_side_px
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import Model
from train import TrainError
from train.data.sample import Sample

_COLUMNS = ("path", "scientificName", "rank", "certainty")
_SIDES = ("path", "x", "y", "width", "height")
NEAR = timedelta(minutes=30)  # frames of one event; a frame this near to a training image is no test


@dataclass(frozen=True, slots=True)
class Frame:
    """A labelled whole frame."""

    path: Path
    scientific_name: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class FramePrediction:
    """The predictions for one frame."""

    frame: Frame
    known: bool
    """Whether the frame's species is one of the model's labels."""
    near_training: bool | None
    """Whether it was taken within 30 minutes of a training sample by the cameras' clocks; `None` where none is
    known.
    """
    whole: str
    """Scientific name of the most probable label by the whole frame alone."""
    combined: str
    """Scientific name of the most probable label with the attention crop, as the device combines them."""
    familiarity: float | None
    crop: Box | None


def read_frames(table: Path, source: str = "", boxes: Path | None = None) -> tuple[Frame, ...]:
    """Frames of a table with `path`, `scientificName`, `rank`, `certainty` and, to choose by it, `source`: those whose
    species is sure.

    Raises `TrainError` when the table has none, or a table lacks a column.
    """
    drawn: dict[str, list[Box]] = {}
    for row in _rows(boxes, _SIDES) if boxes else ():
        try:
            x, y, width, height = (float(row[side]) for side in _SIDES[1:])
        except ValueError as error:
            raise TrainError(f"{boxes}: {row['path']}: {error}; expected fractions of the frame's sides") from error
        drawn.setdefault(row["path"], []).append(Box(x, y, width, height))
    frames = tuple(
        Frame(table.parent / row["path"], row["scientificName"], tuple(drawn.get(row["path"], ())))
        for row in _rows(table, _COLUMNS + (("source",) if source else ()))
        if source in ("", row.get("source")) and row["certainty"] == "sure" and row["rank"] == "species"
    )
    if not frames:
        of = f" of source {source!r}" if source else ""
        raise TrainError(f"{table} has no frame{of} whose species is sure: rank `species`, certainty `sure`")
    return frames


def predict_frames(
    model: Model, frames: Sequence[Frame], training: Sequence[Sample] = ()
) -> tuple[FramePrediction, ...]:
    """Classify each frame as the device does; `training` holds the samples that the model was trained on."""
    names = [label.taxon.scientific_name if label.taxon else label.kind for label in model.card.labels]
    times = sorted(s.captured_at.replace(tzinfo=None) for s in training if s.captured_at)
    predictions = []
    for frame in frames:
        decoded = decode(frame.path.read_bytes(), decode_side_px(model.card), frame.path.name)
        prepared = [network_input(model, decoded)]
        (whole,) = classify_frames(model, prepared, with_crop=False)
        (combined,) = classify_frames(model, prepared)
        at = _camera_clock(decoded.exif)
        predictions.append(
            FramePrediction(
                frame,
                frame.scientific_name in names,
                any(abs(at - time) <= NEAR for time in times) if at and times else None,
                names[int(whole.log_probabilities.argmax())],
                names[int(combined.log_probabilities.argmax())],
                combined.familiarity,
                combined.crop,
            )
        )
    return tuple(predictions)


def summarise(predictions: Sequence[FramePrediction]) -> str:
    """A summary for people: right predictions, also apart for frames near to training images, and found animals."""
    lines = []
    known = [prediction for prediction in predictions if prediction.known]
    for title, chosen in (
        ("frames of trained species", known),
        ("  of these far from any training sample", [p for p in known if p.near_training is False]),
        ("  within 30 minutes of one", [p for p in known if p.near_training]),
        ("  unknown: a time is missing", [p for p in known if p.near_training is None]),
    ):
        whole = sum(prediction.whole == prediction.frame.scientific_name for prediction in chosen)
        combined = sum(prediction.combined == prediction.frame.scientific_name for prediction in chosen)
        lines.append(f"{title:<42} {len(chosen):3d}   right: whole frame {whole:3d}   with crop {combined:3d}")
    lines.append(f"{'frames of other species':<42} {len(predictions) - len(known):3d}")
    boxed = [(a.frame.path, box, a.crop) for a in predictions if a.crop for box in a.frame.boxes]
    if boxed:
        hits = [path for path, box, crop in boxed if _holds_centre(crop, box)]
        mean_iou = sum(intersection_over_union(box, crop) for _, box, crop in boxed) / len(boxed)
        frames = {path for path, _, _ in boxed}
        lines.append(f"box centres in the attention crop: {len(hits)} of {len(boxed)}, mean IoU {mean_iou:.3f}")
        lines.append(f"frames with at least one of them in it: {len(set(hits))} of {len(frames)}")
    return "\n".join(lines)


def intersection_over_union(one: Box, other: Box) -> float:
    """Shared area over the area of both together, 0..1."""
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _holds_centre(crop: Box, box: Box) -> bool:
    x, y = box.x + box.width / 2, box.y + box.height / 2
    return crop.x <= x <= crop.x + crop.width and crop.y <= y <= crop.y + crop.height


def _camera_clock(exif: Exif) -> datetime | None:
    """What the camera's clock showed, without a zone, by the device's reader; `None` when it showed no time."""
    read = read_time(capture_time(exif, 0, ZoneInfo("UTC"), datetime.now(UTC)).raw)
    return read.local if read else None


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table with the `needed` columns; cells that a short row lacks are empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainError(f"{path} cannot be read ({error}); expected a table with {', '.join(needed)}") from error
    lacking = [column for column in needed if column not in (reader.fieldnames or ())]
    if lacking:
        raise TrainError(f"{path} lacks the column {' and '.join(lacking)}; expected a table with {', '.join(needed)}")
    return rows
