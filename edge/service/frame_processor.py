"""One file from its bytes to its result, on a thread of the daemon or in a process of its own."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2

from edge.capture.capture_time import CaptureTime, capture_time
from edge.capture.files import FileState, file_state, read_bytes
from edge.database.frame_result import ClassifiedFrame, Conclusion, Duplicate, FailedFile, FrameResult
from edge.host.cores import cores
from edge.host.freed_memory import give_back_freed_memory
from edge.image.decode import HEAD_BYTES, IMAGE_SUFFIXES, BadFrame, decode, digest, recognise
from edge.image.exif import Exif
from edge.image.image_digest import has_detail, image_digest
from edge.image.memory_limit import MAX_BYTES, MemoryBudget, Share
from edge.image.resize import Pixels
from edge.image.scene_features import is_infrared, miniature
from edge.inference.box_classification import BoxPredictions
from edge.inference.frame_classification import Prediction, network_input
from edge.inference.predictor import Models, decide, predict
from edge.service.crash_guard import TRIES, CrashGuard, Undecided
from edge.settings.deployment_table import Deployment
from edge.settings.options import Settings
from edge.timestamps import now, zone_named
from edge.vocabulary import FileReason

_FINAL = (FileReason.UNSUPPORTED_FORMAT, FileReason.TOO_LARGE)  # more bytes would change nothing


class KnownContent(Protocol):
    """What the database knows of files' content."""

    def is_logged(self, digest: str) -> bool:
        """Whether this content needs no classification."""

    def has_image(self, image_digest: str, digest: str) -> bool:
        """Whether a frame of other content has the same image."""

    def logged_at(self, path: str) -> tuple[int, str] | None:
        """Size in bytes and digest of the frame that was logged at this path last."""


class FrameProcessor:
    """Reads, decodes and classifies files.

    `guard` tells which content crashes the decoder; `None` where nothing has crashed. `budget` bounds the memory of all
    frames in hand.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        known: KnownContent,
        guard: CrashGuard | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._models = models
        self._settings = settings
        self._known = known
        self._guard = guard
        self._budget = budget or MemoryBudget(settings.threads or cores())
        self._side_px = models.decode_side_px
        self._default_zone = None if settings.time_zone is None else zone_named(settings.time_zone)
        # Frames are processed side by side: were each image shared out as well, the others would only wait.
        cv2.setNumThreads(1)
        give_back_freed_memory()

    @property
    def models_sha256(self) -> str:
        """SHA-256 of the models that it decides by."""
        return self._models.sha256

    def with_models(self, models: Models) -> "FrameProcessor":
        """The same with other models."""
        return FrameProcessor(models, self._settings, self._known, self._guard, self._budget)

    def process(self, file: FileState) -> FrameResult | None:
        """Read, digest, decode and classify; the libraries let go of the interpreter, so threads overlap.

        Gives `None` for a file that is gone.
        """
        with self._budget.share() as share:
            return self._process(file, share)

    def _process(self, file: FileState, share: Share) -> FrameResult | None:
        path = Path(file.path)
        sharing = self._settings.deployments_for(path)
        deployment = self._settings.in_period(sharing, None)
        name = None if deployment is None else deployment.id
        try:
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                recognise(read_bytes(file.path, HEAD_BYTES), path.name)  # no film is read to its end
            if file.bytes > MAX_BYTES:
                raise BadFrame(FileReason.TOO_LARGE, f"{file.bytes:,} bytes, the limit is {MAX_BYTES:,}")
            share.of_file(file.bytes)
            data = read_bytes(file.path, file.bytes + 1)  # one more shows that it has grown
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = FileReason.PERMISSION if isinstance(error, PermissionError) else FileReason.CORRUPT
            return FailedFile(file, None, reason, f"it cannot be read ({error.strerror or error})", False, name)
        except BadFrame as bad:
            return FailedFile(file, None, bad.reason, bad.detail, bad.reason in _FINAL, name)
        content = digest(data)
        after = file_state(file.path)
        if after is None:
            return None
        if after != file or len(data) != file.bytes:
            return FailedFile(after, content, FileReason.TRUNCATED, "it changed while it was read", False, name)
        if self._known.is_logged(content):
            return Duplicate(file, content)
        if (smaller := self._grown_from(file.path, data)) is not None:
            return Duplicate(file, content, smaller)
        try:
            fault = None if self._guard is None else self._guard.fault(content, file.path)
        except Undecided:
            return None
        if fault is not None:
            return FailedFile(file, content, FileReason.CRASHED_DECODER, fault, True, name, TRIES)
        try:
            image = decode(data, self._side_px, path.name, share.of_decoder)
        except BadFrame as bad:
            return FailedFile(file, content, bad.reason, bad.detail, bad.reason in _FINAL, name)
        if len(sharing) > 1:  # told apart by the time at which the frame was taken
            deployment = self._in_period(sharing, image.exif, file)
        name = None if deployment is None else deployment.id
        prepared = network_input(self._models.classifier, image)
        least_blank = self._settings.thresholds.get("blank", 0.0)
        prediction = predict(self._models, prepared, self._settings.second_look, least_blank)
        camera = deployment or next(iter(sharing), None)  # outside every period, the zone of the first will do
        conclude = partial(self._conclude, file, image.exif, camera, prepared.whole, prediction)
        frame = ClassifiedFrame(
            *(file, content, image.width_px, image.height_px, name, conclude),
            image_digest=image_digest(data, recognise(data)),
            image_doubt=image.doubt,
            pictures=image.pictures,
        )
        del image, prepared  # their room may be needed for every pixel
        self._note_detail(frame, data, share)
        return frame

    def again_after_others(self, frame: ClassifiedFrame, decided: set[str]) -> FrameResult:
        """The frame, or a duplicate where the same content was logged while this frame was in hand.

        `decided` holds the digests of the frames that will be logged together with it.
        """
        if frame.digest in decided or self._known.is_logged(frame.digest):
            return Duplicate(frame.file, frame.digest)
        earlier = self._known.logged_at(frame.file.path)
        may_have_grown = earlier is not None and earlier[1] != frame.digest and earlier[0] < frame.file.bytes
        if not may_have_grown and (frame.has_detail is not None or not self._has_image(frame)):
            return frame
        with self._budget.share() as share:
            try:
                share.of_file(frame.file.bytes)
                data = read_bytes(frame.file.path, frame.file.bytes + 1)
            except OSError:
                return frame
            if digest(data) != frame.digest:
                return frame
            if may_have_grown and (smaller := self._grown_from(frame.file.path, data)) is not None:
                return Duplicate(frame.file, frame.digest, smaller)
            self._note_detail(frame, data, share)
        return frame

    def _has_image(self, frame: ClassifiedFrame) -> bool:
        return self._known.has_image(frame.image_digest, frame.digest)

    def _note_detail(self, frame: ClassifiedFrame, data: bytes, share: Share) -> None:
        """Decode every pixel where another row has this image: only with detail it can be the same frame.

        Every second pixel of a frame that is too large for that.
        """
        for side_px in (None, min(frame.width_px, frame.height_px) // 2):
            if frame.has_detail is None and self._has_image(frame):
                with suppress(BadFrame):
                    frame.has_detail = has_detail(decode(data, side_px, reserve=share.of_decoder).pixels)

    def _conclude(
        self,
        file: FileState,
        exif: Exif,
        deployment: Deployment | None,
        whole: Pixels,
        prediction: Prediction | BoxPredictions,
    ) -> Conclusion:
        decided = decide(self._models, prediction)
        captured = self._captured(deployment, exif, file)
        return Conclusion(
            captured,
            decided.decision,
            decided.log_probabilities,
            decided.crop,
            is_infrared(whole),
            miniature(whole),
            decided.subjects,
        )

    def _captured(self, deployment: Deployment | None, exif: Exif, file: FileState) -> CaptureTime:
        zone = self._default_zone
        if deployment is not None and deployment.time_zone is not None:
            zone = zone_named(deployment.time_zone)
        return capture_time(exif, file.mtime_ns / 1e9, zone, now())

    def _in_period(self, sharing: tuple[Deployment, ...], exif: Exif, file: FileState) -> Deployment | None:
        """The one of several deployments of one folder within whose period, by its own zone, the frame was taken."""
        found = (self._settings.in_period(sharing, self._captured(one, exif, file).at) for one in sharing)
        return next((deployment for one, deployment in zip(sharing, found, strict=True) if one == deployment), None)

    def _grown_from(self, path: str, data: bytes) -> str | None:
        """Digest of the frame that was logged at `path`, when `data` begins with all of it.

        Cameras append previews and padding to an image that is whole already: it is the same frame.
        """
        earlier = self._known.logged_at(path)
        if earlier is None or earlier[0] >= len(data):
            return None
        return earlier[1] if digest(memoryview(data)[: earlier[0]]) == earlier[1] else None
