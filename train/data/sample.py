"""One labelled image as every dataset reader gives it, and a dataset of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import edge.image.box
from edge.inference.taxonomy import Taxon
from train import TrainError


class DataError(TrainError):
    """A dataset cannot be read or used as asked; the text is one line with what to do next."""


_SLACK = 1.01
"""Boxes that people and detectors draw may end a little outside of the frame."""


@dataclass(frozen=True, slots=True)
class Box(edge.image.box.Box):
    """The bounding box of an animal, as fractions of the upright frame's sides, with what readers of data sets need."""

    def clipped(self) -> "Box":
        """The part that lies inside the frame."""
        left, top = max(0.0, self.x), max(0.0, self.y)
        right, bottom = min(1.0, self.x + self.width), min(1.0, self.y + self.height)
        return Box(left, top, max(0.0, right - left), max(0.0, bottom - top))

    @classmethod
    def of_pixels(cls, box: Iterable[float], size_px: tuple[int, int]) -> "Box":
        """The box (x, y, width, height) in pixels of a frame of (width, height)."""
        return cls(*(value / side for value, side in zip(box, (*size_px, *size_px), strict=True))).clipped()

    @classmethod
    def of_fractions(cls, x: str, y: str, width: str, height: str) -> "Box":
        """A box from a table's cells. Raises `ValueError` for one that is no part of the frame, such as one in
        pixels.
        """
        try:
            box = cls(float(x), float(y), float(width), float(height))
        except ValueError:
            raise ValueError(f"box {x!r} {y!r} {width!r} {height!r} is incomplete; four numbers are expected") from None
        whole = box.width > 0 and box.height > 0 and box.x + box.width <= _SLACK and box.y + box.height <= _SLACK
        if not (whole and 1 - _SLACK <= box.x < 1 and 1 - _SLACK <= box.y < 1):
            raise ValueError(f"box {x} {y} {width} {height} is no part of the frame; fractions 0..1 are expected")
        return box.clipped()

    def around(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        left, top = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        return Box(left, top, right - left, max(self.y + self.height, other.y + other.height) - top)


@dataclass(frozen=True, slots=True)
class Keypoint:
    """A visible, named part of the body, as fractions of the upright frame's sides."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image, or one labelled box of an image. Empty text means: not known."""

    path: Path
    label: str
    location: str = ""
    """The camera's location. A fair test shares no location with training."""
    sequence: str = ""
    """Frames of one trigger, or of one independent event where the data gives events."""
    captured_at: datetime | None = None
    box: Box | None = None
    keypoints: tuple[Keypoint, ...] = ()
    split: str = ""
    """`train`, `val` or `test` where the data has an official split."""
    scientific_name: str = ""
    size_px: tuple[int, int] | None = None
    """(width, height) of the frame, where the data gives it."""
    root: Path | None = None
    """The folder of the data."""

    @property
    def name(self) -> str:
        """The sample's name in tables: the path within the data, and the corner of the box, for an image may have
        several.
        """
        path = self.path
        if self.root is not None and path.is_relative_to(self.root):
            path = path.relative_to(self.root)
        return f"{path}#{self.box.x:.4f},{self.box.y:.4f}" if self.box else str(path)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples with the taxa of their labels."""

    name: str
    samples: tuple[Sample, ...]
    taxa: dict[str, Taxon] = field(default_factory=dict)
    """Taxon by label, where the data gives it."""
    problems: tuple[str, ...] = ()
    """Rows that gave no sample, one line each."""

    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({sample.label for sample in self.samples}))


def one_per_frame(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """One sample for all boxes of a frame with the same label, its box around them all: as whole frames they are the
    same image, and a herd would count as often as it has animals.
    """
    kept: dict[tuple[Path, str], Sample] = {}
    for sample in samples:
        first = kept.setdefault((sample.path, sample.label), sample)
        if first is not sample and first.box is not None and sample.box is not None:
            kept[sample.path, sample.label] = replace(first, box=first.box.around(sample.box))
    return tuple(kept.values())


def read_time(text: str, column: str) -> datetime | None:
    """The time in a table's cell, in UTC where it has no offset; `None` for an empty cell. Raises `ValueError`."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{column} {text!r} is not ISO 8601, e.g. 2021-12-31T17:00:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
