"""Loading the models that the settings name, and replacing them while the daemon runs."""

import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from edge.database.frame_files import FrameContent
from edge.host.one_line import one_line
from edge.image.decode import BadFrame, DecodedFrame, decode
from edge.image.exif import Exif
from edge.inference.decision import Decider
from edge.inference.detector import Detector
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import STARTER, Model, ModelError, classifier
from edge.inference.predictor import Models, decide
from edge.inference.thresholds import check_thresholds
from edge.settings.options import Settings, read_species_list
from edge.settings.strict_toml import SettingsError
from edge.vocabulary import FileReason

log = logging.getLogger(__name__)

TEST_BYTES = 24_000_000  # of a test frame's file, and of what its decoder takes
_SETTLE_S = 2.0
_Stamp = tuple[tuple[int, ...] | None, ...]


def load_models(settings: Settings) -> Models:
    """Load what the settings name. Raises `ModelError` and `SettingsError`."""
    model = classifier(settings.model or STARTER)
    place = "thresholds" if settings.config is None else f"{settings.config}: [thresholds]"
    check_thresholds(settings.thresholds, model.card.labels, place)
    allowed = None if settings.species_list is None else read_species_list(settings.species_list)
    decider = Decider(model.card, allowed, settings.thresholds)
    least_score = settings.thresholds.get("detection")
    detector = None if settings.detector is None else Detector(settings.detector, least_score=least_score)
    return Models(model, decider, detector)


def choose_models(settings: Settings) -> Models:
    """As `load_models`, with a warning for each name of the species list that this classifier does not know."""
    models = load_models(settings)
    decider = models.decider
    if decider.unmatched:
        log.warning("species list: %s not known to this model", one_line(", ".join(decider.unmatched), 1000))
        if settings.species_list and len(decider.unmatched) == len(read_species_list(settings.species_list)):
            raise SettingsError(
                f"{settings.species_list}: no taxon of the list is known to this model; check the names"
            )
    return models


def unproven(models: Models) -> str:
    """Which files have nothing beside them that would tell damage, as the end of a line; mostly empty."""
    each = [models.classifier, *([models.detector.model] if models.detector else [])]
    names = [model.path.name for model in each if not model.has_checksum]
    return f"; no .sha256 lies beside {' and '.join(names)} to check it with" if names else ""


def check_models(
    models: Models, frames: Iterable[FrameContent], made: int = 2, next_step: Callable[[], None] = lambda: None
) -> None:
    """Classify frames that were classified before, and some `made` images. Raises `ModelError`.

    A sound classifier gives each of them probabilities, and not the same ones to all; a sound detector gives scores.
    `next_step` is called before each image.
    """
    model = models.classifier
    logs = []
    for image in _test_images(models, frames, made):
        next_step()
        with _its_fault(model):
            (prediction,) = classify_frames(model, [network_input(model, image)])
            decide(models, prediction)
        if models.detector is not None:
            next_step()
            check_detector(models.detector, image)
        logs.append(prediction.log_probabilities)
    probabilities = np.exp(np.stack(logs))
    if not np.isfinite(probabilities).all() or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ModelError(f"{model.path}: its outputs for test frames are no probabilities")
    if made < len(logs) > 2 and np.ptp(probabilities, axis=0).max() < 1e-6:
        raise ModelError(f"{model.path}: it gives the same probabilities for every test frame")


def check_detector(detector: Detector, image: DecodedFrame | None = None) -> None:
    """Look for bounding boxes in an image, a made one by default. Raises `ModelError`."""
    with _its_fault(detector.model):
        detector.detect(_made_image(0) if image is None else image)


@contextmanager
def _its_fault(model: Model) -> Iterator[None]:
    """Whatever goes wrong is the model's fault: the runtime's own exception types share no public base."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{model.path}: it fails on a test frame ({one_line(error)})") from error


class ModelFiles:
    """Notices that a model's file was replaced."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = [file for path in paths for file in (path, path.with_name(path.name + ".sha256"))]
        self._loaded = self._stamp()
        self._candidate: _Stamp | None = None
        self._since = self._next_check = 0.0

    def accept(self) -> None:
        """What is there now is in use."""
        self._loaded, self._candidate = self._stamp(), None

    @property
    def are_as_accepted(self) -> bool:
        """Whether what is there now is what was accepted."""
        return self._stamp() == self._loaded

    def has_changed(self) -> bool:
        """True once for each change, when the files have been still for two seconds."""
        at = time.monotonic()
        if at < self._next_check:
            return False
        self._next_check = at + _SETTLE_S / 2
        stamp = self._stamp()
        if stamp == self._loaded:
            self._candidate = None
            return False
        if stamp != self._candidate:
            self._candidate, self._since = stamp, at
            return False
        if at - self._since < _SETTLE_S or None in stamp[::2]:
            return False
        self._loaded, self._candidate = stamp, None
        return True

    def _stamp(self) -> _Stamp:
        return tuple(map(_stamp_of, self._paths))


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    """What tells one file from another; `None` where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return stat.S_IFMT(status.st_mode), status.st_ino, status.st_size, status.st_mtime_ns


def _test_images(models: Models, frames: Iterable[FrameContent], made: int) -> Iterator[DecodedFrame]:
    """One at a time, for other frames are classified meanwhile; a costly one is passed over."""
    yield from (_made_image(seed) for seed in range(made))
    for frame in frames:
        with suppress(BadFrame):
            yield decode(frame.data, models.decode_side_px, frame.path, _refuse_large)


def _refuse_large(needed_bytes: int) -> None:
    if needed_bytes > TEST_BYTES:
        raise BadFrame(FileReason.TOO_LARGE, "other frames will do for a test")


def _made_image(seed: int) -> DecodedFrame:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = np.ascontiguousarray(noise.repeat(64, axis=0).repeat(64, axis=1))
    return DecodedFrame(pixels, pixels.shape[1], pixels.shape[0], Exif())
