"""Whole frames through the device's own pipeline: what the first look says, what the second adds, where it looked."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from edge.image.box import Box
from edge.image.decode import decode
from edge.inference.attention_crop import decode_side_px
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import Model
from train import TrainError
from train.data.sample import Sample

_COLUMNS = ("path", "scientificName", "rank", "certainty")
_SIDES = ("path", "x", "y", "width", "height")
NEAR = timedelta(minutes=30)  # frames of one visit; a frame this near to a training crop is no test


@dataclass(frozen=True, slots=True)
class Frame:
    """A labelled whole frame."""

    path: Path
    scientific_name: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said of one frame."""

    frame: Frame
    known: bool
    """Whether the frame's species is one of the model's labels."""
    near_training: bool | None
    """Within 30 minutes of a training sample by its camera's clock; `None` where a clock is lacking to tell."""
    first: str
    """Scientific name of the most probable label after the first look alone."""
    both: str
    """And after the second look, as the device combines them."""
    familiarity: float | None
    region: Box | None


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


def answer_frames(model: Model, frames: Sequence[Frame], training: Sequence[Sample] = ()) -> tuple[Answer, ...]:
    """The device's pipeline on each frame; `training` tells which frames are near to what the model learned from."""
    names = [label.taxon.scientific_name if label.taxon else label.kind for label in model.card.labels]
    times = sorted(s.captured_at.replace(tzinfo=None) for s in training if s.captured_at)
    answers = []
    for frame in frames:
        picture = decode(frame.path.read_bytes(), decode_side_px(model.card), frame.path.name)
        seen = network_input(model, picture)
        first, both = classify_frames(model, [seen], with_crop=False)[0], classify_frames(model, [seen])[0]
        at = _camera_time(picture.exif.date_time_original)
        answers.append(
            Answer(
                frame,
                frame.scientific_name in names,
                any(abs(at - time) <= NEAR for time in times) if at and times else None,
                names[int(first.log_probabilities.argmax())],
                names[int(both.log_probabilities.argmax())],
                both.familiarity,
                both.crop,
            )
        )
    return tuple(answers)


def summarise(answers: Sequence[Answer]) -> str:
    """For people: right answers of both looks, apart for frames near to training; and how well animals are found."""
    lines = []
    known = [answer for answer in answers if answer.known]
    for title, chosen in (
        ("frames of trained species", known),
        ("  of these far from any training sample", [answer for answer in known if answer.near_training is False]),
        ("  within 30 minutes of one", [answer for answer in known if answer.near_training]),
        ("  not known, for want of times", [answer for answer in known if answer.near_training is None]),
    ):
        first = sum(answer.first == answer.frame.scientific_name for answer in chosen)
        both = sum(answer.both == answer.frame.scientific_name for answer in chosen)
        lines.append(f"{title:<42} {len(chosen):3d}   first look right {first:3d}   both looks right {both:3d}")
    lines.append(f"{'frames of other species':<42} {len(answers) - len(known):3d}")
    boxed = [(a.frame.path, box, a.region) for a in answers if a.region for box in a.frame.boxes]
    if boxed:
        hits = [path for path, box, region in boxed if _holds_centre(region, box)]
        mean_iou = sum(intersection_over_union(box, region) for _, box, region in boxed) / len(boxed)
        frames = {path for path, _, _ in boxed}
        lines.append(f"box centres in the attention region: {len(hits)} of {len(boxed)}, mean IoU {mean_iou:.3f}")
        lines.append(f"frames with at least one of them in it: {len(set(hits))} of {len(frames)}")
    return "\n".join(lines)


def intersection_over_union(one: Box, other: Box) -> float:
    """Shared area over the area of both together, 0..1."""
    wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (one.width * one.height + other.width * other.height - shared)


def _holds_centre(region: Box, box: Box) -> bool:
    x, y = box.x + box.width / 2, box.y + box.height / 2
    return region.x <= x <= region.x + region.width and region.y <= y <= region.y + region.height


def _camera_time(text: str) -> datetime | None:
    """EXIF's time by the camera's own clock, which is also what the manifest's times are."""
    try:
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None


def _rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Cells that a short row lacks are empty."""
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
