"""Loading the models that the settings name, and replacing them while the daemon runs."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from edge.capture.files import file_state
from edge.database.frame_files import FrameContent
from edge.image.decode import BadFrame, DecodedFrame, decode
from edge.image.exif import Exif
from edge.inference.decision import Decider
from edge.inference.detector import Detector
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import STARTER, ModelError, classifier
from edge.inference.predictor import Models
from edge.inference.thresholds import check_thresholds
from edge.settings import Settings, SettingsError, read_species_list

log = logging.getLogger(__name__)

TEST_FRAMES = 8
_SETTLE_S = 2.0
_Stamp = tuple[tuple[int, int] | None, ...]


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
        log.warning("species list: %s not known to this model", ", ".join(decider.unmatched))
        if settings.species_list and len(decider.unmatched) == len(read_species_list(settings.species_list)):
            raise SettingsError(
                f"{settings.species_list}: no taxon of the list is known to this model; check the names"
            )
    return models


def check_models(models: Models, frames: Iterable[FrameContent]) -> None:
    """Classify frames that were classified before, and two made images. Raises `ModelError`.

    A sound classifier gives each of them probabilities, and not the same ones to all; a sound detector gives scores.
    """
    model = models.classifier
    images = [_made_image(seed) for seed in range(2)]
    for frame in frames:
        with suppress(BadFrame):
            images.append(decode(frame.data, models.decode_side_px, frame.path))
    logs = []
    for image in images:
        try:
            (prediction,) = classify_frames(model, [network_input(model, image)])
            if models.detector is not None:
                models.detector.detect(image)
        except Exception as error:  # the runtime's own exception types share no public base
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{model.path}: it fails on a test frame ({reason})") from error
        logs.append(prediction.log_probabilities)
    probabilities = np.exp(np.stack(logs))
    given, expected = probabilities.shape[1], len(model.card.labels)
    if given != expected:
        raise ModelError(f"{model.path}: it gives {given} probabilities, its card has {expected} labels")
    if not np.isfinite(probabilities).all() or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise ModelError(f"{model.path}: its outputs for test frames are no probabilities")
    if np.ptp(probabilities, axis=0).max() < 1e-6:
        raise ModelError(f"{model.path}: it gives the same probabilities for every test frame")


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
        seen = [file_state(str(path.resolve())) for path in self._paths]
        return tuple(None if file is None else (file.bytes, file.mtime_ns) for file in seen)


def _made_image(seed: int) -> DecodedFrame:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = np.ascontiguousarray(noise.repeat(64, axis=0).repeat(64, axis=1))
    return DecodedFrame(pixels, pixels.shape[1], pixels.shape[0], Exif())
