"""One file from its bytes to its result, without the database: on a thread of the daemon or in a process of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge.capture.capture_time import capture_time
from edge.capture.files import FileState, read_bytes, see
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, Result
from edge.image import decode as frame
from edge.image.resize import Pixels
from edge.image.scene_features import is_infrared, miniature
from edge.inference import attention_crop as look
from edge.inference.box_classification import BoxPredictions
from edge.inference.predictor import decide, take_look
from edge.service.crash_guard import TRIES, Undecided
from edge.service.model_reload import Models
from edge.settings import Deployment, Settings
from edge.timestamps import now, zone_named

_FINAL = ("unsupported_format", "too_large")  # more bytes would change nothing


@dataclass(frozen=True, slots=True)
class Looked:
    """A whole frame that was looked at, before anything is said of it."""

    seen: FileState
    digest: str
    width_px: int
    height_px: int
    exif: frame.Exif
    deployment: Deployment | None
    whole: Pixels
    """As the classifier saw it."""
    look: look.Prediction | BoxPredictions


class FrameProcessor:
    """Reads files and looks at frames.

    `is_logged` tells by the digest which content needs no look. `fault` tells by digest and path what is wrong with
    content that cannot be decoded safely, `None` for all other. `logged_at` gives size and digest of the frame that
    was logged at a path last.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        is_logged: Callable[[str], bool],
        fault: Callable[[str, str], str | None] = lambda digest, path: None,
        logged_at: Callable[[str], tuple[int, str] | None] = lambda path: None,
    ) -> None:
        self._models = models
        self._settings = settings
        self._is_logged = is_logged
        self._fault = fault
        self._logged_at = logged_at
        self._side_px = models.decode_side_px
        self._default_zone = None if settings.time_zone is None else zone_named(settings.time_zone)
        # It is frames that overlap. OpenCV would share out each picture too, one at a time, and the others would wait.
        cv2.setNumThreads(1)

    def with_models(self, models: Models) -> "FrameProcessor":
        """The same with other models."""
        return FrameProcessor(models, self._settings, self._is_logged, self._fault, self._logged_at)

    def examine(self, seen: FileState) -> Result | None:
        """Both steps in one."""
        item = self.look(seen)
        return self.conclude(item) if isinstance(item, Looked) else item

    def look(self, seen: FileState) -> Looked | FailedFile | Duplicate | None:
        """Read, digest, decode and look; the libraries let go of the interpreter, so threads overlap.

        Gives `None` for a file that is gone.
        """
        path = Path(seen.path)
        deployment = self._settings.deployment_of(path)
        name = None if deployment is None else deployment.id
        try:
            if path.suffix.lower() not in frame.IMAGE_SUFFIXES:
                frame.recognise(read_bytes(seen.path, frame.HEAD_BYTES), path.name)  # no film is read to its end
            if seen.bytes > frame.MAX_BYTES:
                raise frame.BadFrame("too_large", f"{seen.bytes:,} bytes, the limit is {frame.MAX_BYTES:,}")
            data = read_bytes(seen.path, frame.MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return FailedFile(seen, None, "permission" if isinstance(error, PermissionError) else "corrupt",
                          f"it cannot be read ({error.strerror or error})", False, name)  # fmt: skip
        except frame.BadFrame as bad:
            return FailedFile(seen, None, bad.reason, bad.detail, bad.reason in _FINAL, name)
        digest = frame.digest(data)
        after = see(seen.path)
        if after is None:
            return None
        if after != seen or len(data) != seen.bytes:
            return FailedFile(after, digest, "truncated", "it changed while it was read", False, name)
        if self._is_logged(digest):
            return Duplicate(seen, digest)
        if (smaller := self._grown_from(seen.path, data)) is not None:
            return Duplicate(seen, digest, smaller)
        try:
            fault = self._fault(digest, seen.path)
        except Undecided:
            return None
        if fault is not None:
            return FailedFile(seen, digest, "crashed_decoder", fault, True, name, TRIES)
        try:
            picture = frame.decode(data, self._side_px, path.name)
        except frame.BadFrame as bad:
            return FailedFile(seen, digest, bad.reason, bad.detail, bad.reason in _FINAL, name)
        view = look.view(self._models.classifier, picture)
        least_blank = self._settings.thresholds.get("blank", 0.0)
        taken = take_look(self._models, view, self._settings.second_look, least_blank)
        return Looked(seen, digest, picture.width_px, picture.height_px, picture.exif, deployment, view.whole, taken)

    def conclude(self, looked: Looked) -> ClassifiedFrame:
        """Say what a look came to.

        These are many small steps, whose code has left the processor's cache each time that a picture went through it:
        done for a group of frames at once, they take a fraction of the time (docs/results.md).
        """
        said = decide(self._models, looked.look)
        deployment, zone = looked.deployment, self._default_zone
        if deployment is not None and deployment.time_zone is not None:
            zone = zone_named(deployment.time_zone)
        captured = capture_time(looked.exif, looked.seen.mtime_ns / 1e9, zone, now())
        return ClassifiedFrame(looked.seen, looked.digest, looked.width_px, looked.height_px, captured,
                      None if deployment is None else deployment.id, said.decision, said.log_probabilities, said.region,
                      is_infrared(looked.whole), miniature(looked.whole), said.subjects)  # fmt: skip

    def grown(self, scored: Looked | ClassifiedFrame) -> Duplicate | None:
        """The same frame, where its file was logged smaller since it was read; reads it again, and doesn't decode."""
        earlier = self._logged_at(scored.seen.path)
        if earlier is None or earlier[1] == scored.digest or earlier[0] >= scored.seen.bytes:
            return None
        try:
            data = read_bytes(scored.seen.path, frame.MAX_BYTES)
        except OSError:
            return None
        smaller = self._grown_from(scored.seen.path, data) if frame.digest(data) == scored.digest else None
        return None if smaller is None else Duplicate(scored.seen, scored.digest, smaller)

    def _grown_from(self, path: str, data: bytes) -> str | None:
        """Digest of the frame that was logged at `path`, when `data` begins with all of it.

        Cameras append previews and padding to a picture that is whole already: it is the same frame.
        """
        earlier = self._logged_at(path)
        if earlier is None or earlier[0] >= len(data):
            return None
        return earlier[1] if frame.digest(memoryview(data)[: earlier[0]]) == earlier[1] else None
