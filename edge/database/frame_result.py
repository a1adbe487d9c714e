"""What becomes of one file: a classified frame, content that is logged already, or a failure with its reason."""

import logging
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.image.box import Box
from edge.image.resize import Pixels
from edge.inference.box_classification import Subject
from edge.inference.decision import Decision
from edge.vocabulary import FileReason, ImageDoubt, MediaStatus

log = logging.getLogger(__name__)

_LONGEST_ERROR = 200
"""Characters of an error's text that are told."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What is logged of a whole frame beside its file."""

    captured: CaptureTime
    decision: Decision
    log_probabilities: NDArray[np.float32] | None
    """float32[L]; `None` where a detector found no animal to classify."""
    crop: Box | None
    """The attention crop; `None` with a detector or without attention."""
    infrared: bool
    scene: Pixels
    """uint8[12, 16], see `edge.image.scene_features`."""
    subjects: tuple[Subject, ...] = ()
    """The detector's bounding boxes, strongest first."""

    @property
    def count(self) -> int | None:
        """Number of bounding boxes of the decision's kind; `None` without one: a classifier counts nothing."""
        return sum(subject.decision.kind == self.decision.kind for subject in self.subjects) or None


@dataclass(slots=True)
class ClassifiedFrame:
    """A whole frame that went through the networks.

    Its conclusion is worked out when it is first asked for: these are many small steps, whose code has left the
    processor's cache after each frame that was decoded. Asked for a group of frames in a row, they take a fraction of
    the time (docs/results/device.md).
    """

    file: FileState
    digest: str
    width_px: int
    height_px: int
    deployment: str | None
    _conclusion: Conclusion | Callable[[], Conclusion]
    image_digest: str = ""
    """Identity of the image whatever the metadata (`edge.image.image_digest`); empty for a format that has none."""
    has_detail: bool | None = None
    """Whether the image tells frames apart; `None` where no other row has this image, so that nobody asks."""
    image_doubt: ImageDoubt | None = None
    pictures: int = 1
    """Number of images in the file."""

    @property
    def conclusion(self) -> Conclusion:
        if not isinstance(self._conclusion, Conclusion):
            self._conclusion = self._conclusion()
        return self._conclusion


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that cannot be classified, now or ever."""

    file: FileState
    digest: str | None
    reason: FileReason
    detail: str
    """One line for people."""
    final: bool
    """False while the file may still be growing."""
    deployment: str | None = None
    tries: int = 1
    """How often it was tried for this result."""
    retry_after_s: float | None = None
    """When an incomplete file is to be tried again; `None` when it is final or its command tries nothing again."""

    @property
    def status(self) -> MediaStatus:
        if self.reason == FileReason.UNSUPPORTED_FORMAT:
            return MediaStatus.UNSUPPORTED
        return MediaStatus.UNREADABLE if self.final else MediaStatus.PENDING


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Content that is logged already, seen at another path or at another time."""

    file: FileState
    digest: str
    grown_from: str | None = None
    """Digest under which the frame was logged before its file went on growing after the end of the image."""


@dataclass(frozen=True, slots=True)
class RewrittenFrame:
    """A logged frame in whose file metadata was rewritten: it keeps its row and its labels."""

    file: FileState
    digest: str
    old_time: str | None
    new_time: str | None
    """ISO 8601, UTC; as `old_time` where the rewritten metadata tell no other time."""


FrameResult = ClassifiedFrame | FailedFile | Duplicate | RewrittenFrame


def unforeseen(file: FileState, error: BaseException) -> FailedFile:
    """The failure of a file over which an error came that nobody foresaw.

    It is final, but for a lack of memory or an error of the system: those may pass.
    """
    log.debug("%s", ascii(file.path), exc_info=error)
    text = "".join(letter for letter in " ".join(str(error).split()) if letter.isprintable())[:_LONGEST_ERROR]
    places = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(places[-1].filename)}:{places[-1].lineno}" if places else ""
    detail = f"an unforeseen error, {type(error).__name__}{where}{': ' if text else ''}{text}"
    return FailedFile(file, None, FileReason.INTERNAL_ERROR, detail, not isinstance(error, (MemoryError, OSError)))
