"""What becomes of one file: an answer, a failure with its reason, or content that is logged already."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.image.box import Box
from edge.image.decode import Reason
from edge.image.resize import Pixels
from edge.inference.box_classification import Subject
from edge.inference.decision import Decision


@dataclass(frozen=True, slots=True)
class ClassifiedFrame:
    """A whole frame with its answer, ready to be logged."""

    seen: FileState
    digest: str
    width_px: int
    height_px: int
    captured: CaptureTime
    deployment: str | None
    decision: Decision
    log_probabilities: NDArray[np.float32] | None
    """float32[L]; `None` where a detector found no animal to classify."""
    region: Box | None
    """Where the attention went, when no detector looked."""
    infrared: bool
    scene: Pixels
    """uint8[12, 16], see `edge.image.scene_features`."""
    subjects: tuple[Subject, ...] = ()
    """A detector's boxes."""

    @property
    def count(self) -> int | None:
        """How many boxes show what the frame is said to be; `None` without a box: a classifier counts nothing."""
        return sum(subject.decision.kind == self.decision.kind for subject in self.subjects) or None


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that cannot be scored, now or ever."""

    seen: FileState
    digest: str | None
    reason: Reason
    detail: str
    final: bool
    """False while it may still be growing."""
    deployment: str | None = None
    tries: int = 1
    """How often it was tried for this result."""

    @property
    def status(self) -> str:
        if self.reason == "unsupported_format":
            return "unsupported"
        return "unreadable" if self.final else "pending"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Content that is logged already, seen at another path or at another time."""

    seen: FileState
    digest: str
    grown_from: str | None = None
    """Digest under which the frame was logged before its file went on growing after the end of the picture."""


Result = ClassifiedFrame | FailedFile | Duplicate
