"""One labelled image as every dataset reader gives it, and a dataset of them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from edge.taxonomy import Taxon
from train import TrainError


class DataError(TrainError):
    """A dataset cannot be read or used as asked; one line with what to do next."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where the animal is, as fractions of the upright frame's sides; x and y are the top left corner."""

    x: float
    y: float
    width: float
    height: float

    def clipped(self) -> "Box":
        """The part that lies inside the frame."""
        left, top = max(0.0, self.x), max(0.0, self.y)
        right, bottom = min(1.0, self.x + self.width), min(1.0, self.y + self.height)
        return Box(left, top, max(0.0, right - left), max(0.0, bottom - top))


@dataclass(frozen=True, slots=True)
class Keypoint:
    """A named part of the body that is seen, as fractions of the upright frame's sides."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled image, or one labelled box of an image. Empty text means: not known."""

    path: Path
    label: str
    location: str = ""
    """The camera's place. The unit of generalisation: a fair test shares none with training."""
    sequence: str = ""
    """Frames of one trigger, or of one independent event where the data gives events."""
    captured_at: datetime | None = None
    box: Box | None = None
    keypoints: tuple[Keypoint, ...] = ()
    split: str = ""
    """`train`, `val` or `test` where the data has an official split."""
    scientific_name: str = ""
    size_px: tuple[int, int] | None = None
    """(width, height), where the data says it."""

    @property
    def name(self) -> str:
        """Tells the sample in tables: the path, and the box's corner where one image has several."""
        return f"{self.path}#{self.box.x:.4f},{self.box.y:.4f}" if self.box else str(self.path)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Samples with the taxa of their labels."""

    name: str
    samples: tuple[Sample, ...]
    taxa: dict[str, Taxon] = field(default_factory=dict)
    """By label, where the data knows them."""
    problems: tuple[str, ...] = ()
    """Rows that gave no sample, one line each."""

    def labels(self) -> tuple[str, ...]:
        """All labels, sorted."""
        return tuple(sorted({sample.label for sample in self.samples}))

    def counts(self) -> dict[str, int]:
        """Samples of each label, most first."""
        return dict(Counter(sample.label for sample in self.samples).most_common())
