"""A frame box by box: what is in each box of a detector, and what the boxes say of the frame together.

The detector says whether there is anything, and whether it is an animal, a person or a vehicle; the classifier says of
each animal which one it is, given that it is one (its labels blank, vehicle and so on don't count there; only a person
that it is sure of is believed over the detector). A confidence is the product of both. Thresholds ask the classifier
alone: the detector's own is the least score of a box.

The frame is what its strongest box is. Its animals give one answer, the mean of their probabilities, each weighted by
the box's score and by how sure the classifier is of it: a far animal that could be anything leaves the answer to a near
one, and two species make a taxon that holds both. (Means of logarithms, as over a burst, would name one of the two.) A
frame without any box is blank, as sure as the strongest of the boxes that were dropped was weak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.image.box import Box, square_around
from edge.image.decode import DecodedFrame
from edge.inference import attention_crop as look
from edge.inference.decision import Candidate, Decider, Decision
from edge.inference.detector import Detection, Detector
from edge.inference.model import Model
from edge.inference.probabilities import FloatArray, log_softmax
from edge.inference.taxonomy import ROOT, ROOT_NAME

MARGIN = 0.1
"""Surroundings that a box is cut out with, at each side, as a share of its longer side (docs/results.md)."""
DETAIL = 4
"""A box of this part of the frame's shorter side still fills the classifier's input."""
_BATCH = 8  # boxes in the classifier at a time: a herd must not cost more memory than a few animals


@dataclass(frozen=True, slots=True)
class Subject:
    """One box of a frame with its answer."""

    box: Box
    decision: Decision
    log_probabilities: FloatArray | None
    """float32[L], calibrated, given that it is an animal; `None` for people and vehicles."""


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """What detector and classifier make of one frame."""

    decision: Decision
    """The frame's own."""
    log_probabilities: FloatArray | None
    """float32[L], of its animals together; `None` without one."""
    subjects: tuple[Subject, ...]
    """Strongest box first."""


def decode_side_px(model: Model, detector: Detector) -> int:
    """The shorter side that a frame must keep when it is decoded: enough for both networks, and for a small box."""
    card, finder = model.card, detector.model.card
    side = max(card.input_height_px, card.input_width_px)
    return max(DETAIL * side, finder.input_height_px, finder.input_width_px)


def classify_boxes(
    detector: Detector, model: Model, decider: Decider, picture: DecodedFrame, least_blank: float = 0.0
) -> BoxPredictions:
    """Find the boxes of a decoded frame, classify each animal, decide on each box and on the frame.

    With less than `least_blank` for a blank, a frame without boxes is `unknown`.
    """
    found = detector.detect(picture)
    if not found.boxes:
        return BoxPredictions(_nothing(1.0 - found.strongest, least_blank), None, ())
    animals = [detection for detection in found.boxes if detection.kind == "animal"]
    looks = iter(_looks(model, picture, animals))
    subjects, familiar = [], []
    for detection in found.boxes:
        if detection.kind != "animal":
            subjects.append(Subject(detection.box, _plain(detection), None))
            continue
        logs, familiarity = next(looks)
        person = decider.decide(logs)
        if person.kind == "human":
            subjects.append(Subject(detection.box, person, None))
            continue
        given = _given_animal(model, logs)
        subjects.append(Subject(detection.box, _animal(decider, given, familiarity, detection.confidence), given))
        familiar.append(familiarity)
    return _together(decider, subjects, [detection.confidence for detection in found.boxes], familiar)


def _together(
    decider: Decider, subjects: Sequence[Subject], scores: Sequence[float], familiar: Sequence[float | None]
) -> BoxPredictions:
    first = subjects[0].decision
    boxes = [(s.log_probabilities, score) for s, score in zip(subjects, scores, strict=True)]
    animals = [(np.exp(logs.astype(np.float64)), score) for logs, score in boxes if logs is not None]
    if not animals:
        return BoxPredictions(first, None, tuple(subjects))
    mean = np.average([p for p, _ in animals], axis=0, weights=[score * p.max() for p, score in animals])
    with np.errstate(divide="ignore"):  # the labels that are no animals have the logarithm of nothing
        logs = np.log(mean).astype(np.float32)
    if first.kind != "animal":
        return BoxPredictions(first, logs, tuple(subjects))
    familiarity = max((value for value in familiar if value is not None), default=None)
    return BoxPredictions(
        _animal(decider, logs, familiarity, max(score for _, score in animals)), logs, tuple(subjects)
    )


def _looks(model: Model, picture: DecodedFrame, animals: Sequence[Detection]) -> list[tuple[FloatArray, float | None]]:
    """(calibrated log-probabilities float32[L], familiarity) of each box."""
    looks: list[tuple[FloatArray, float | None]] = []
    for start in range(0, len(animals), _BATCH):
        regions = [surroundings(animal.box, picture) for animal in animals[start : start + _BATCH]]
        outputs = model.run(np.stack([look.crop_pixels(model, picture, region) for region in regions]))
        familiar = look.familiarity(outputs, model.card.calibration.rejection)
        looks += zip(look.calibrated(model, outputs.logits), familiar, strict=True)
    return looks


def surroundings(box: Box, picture: DecodedFrame) -> Box:
    """The square around a box with its margin, moved inside the frame; not higher or wider than the frame."""
    height_px, width_px = picture.pixels.shape[:2]
    return square_around(box, height_px, width_px, MARGIN)


def _given_animal(model: Model, logs: FloatArray) -> FloatArray:
    """float32[L]: the same when it is known to be an animal."""
    animals = np.array([label.kind == "animal" for label in model.card.labels])
    return log_softmax(np.where(animals, logs, np.float32(-np.inf)))


def _animal(decider: Decider, logs: FloatArray, familiarity: float | None, score: float) -> Decision:
    """What a box's animal is; one that is like nothing in training, or reaches no threshold, is still an animal."""
    said = decider.decide(logs, familiarity)
    candidates = tuple(
        replace(candidate, probability=candidate.probability * score)
        for candidate in said.candidates
        if candidate.rank is not None
    )
    if said.kind != "animal":
        return Decision("animal", ROOT_NAME, ROOT.rank, ROOT.common_name, score, "rolled_up", candidates)
    return replace(said, confidence=said.confidence * score, candidates=candidates)


def _plain(detection: Detection) -> Decision:
    """A person or a vehicle: the detector's word alone."""
    kind, score = detection.kind, detection.confidence
    return Decision(kind, None, None, kind, score, "confident", (Candidate(kind, None, kind, score),))


def _nothing(confidence: float, least: float) -> Decision:
    candidates = (Candidate("blank", None, "blank", confidence),)
    if confidence < least:
        return Decision("unknown", None, None, "unknown", confidence, "below_threshold", candidates)
    return Decision("blank", None, None, "blank", confidence, "blank", candidates)
