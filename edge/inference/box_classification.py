"""Classification of a detector's bounding boxes, and the decision on the frame that follows from them.

The detector says whether there is anything, and whether it is an animal, a person or a vehicle; the classifier says of
each animal which one it is, given that it is one (its labels blank, vehicle and so on don't count there; only a person
that it is sure of overrides the detector). A confidence is the product of both. Thresholds are compared with the
classifier's probability alone: the detector's own threshold is the least score of a bounding box.

The frame's decision is that of its strongest bounding box. Its animals give one decision, from the mean of their
probabilities, each weighted by the box's score and by how sure the classifier is of it: a far animal that could be
anything leaves the decision to a near one, and two species make a taxon that holds both. (Means of logarithms, as over
a burst, would name one of the two.) A frame without any bounding box is blank, with a confidence of one minus the
strongest score that was dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.image.box import Box, square_around
from edge.image.decode import DecodedFrame
from edge.inference.attention_crop import crop_pixels
from edge.inference.card import Card
from edge.inference.decision import Candidate, Decider, Decision
from edge.inference.detector import Detection, Detector
from edge.inference.frame_classification import calibrated, familiarity
from edge.inference.model import Model
from edge.inference.probabilities import FloatArray, log_softmax
from edge.inference.taxonomy import ROOT, ROOT_NAME
from edge.vocabulary import DecisionReason, Kind

MARGIN = 0.1
"""Margin that a bounding box is cut out with, on each side, as a share of its longer side (docs/results/model.md)."""
DETAIL = 4
"""A bounding box of this part of the frame's shorter side still fills the classifier's input."""
_BATCH = 8  # bounding boxes in the classifier at a time: a herd must not cost more memory than a few animals


@dataclass(frozen=True, slots=True)
class Subject:
    """One bounding box of a frame with its decision."""

    box: Box
    decision: Decision
    log_probabilities: FloatArray | None
    """float32[L], calibrated, given that it is an animal; `None` for people and vehicles."""


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """What detector and classifier make of one frame."""

    decision: Decision
    """The decision on the whole frame."""
    log_probabilities: FloatArray | None
    """float32[L] of all its animals together; `None` without one."""
    subjects: tuple[Subject, ...]
    """The bounding boxes, strongest first."""


def decode_side_px(classifier: Card, detector: Card) -> int:
    """The shorter side that a frame must keep when it is decoded: enough for both networks and for a small box."""
    side = max(classifier.input_height_px, classifier.input_width_px)
    return max(DETAIL * side, detector.input_height_px, detector.input_width_px)


def classify_boxes(
    detector: Detector, model: Model, decider: Decider, frame: DecodedFrame, least_blank: float = 0.0
) -> BoxPredictions:
    """Find the bounding boxes of a decoded frame, classify each animal, decide on each box and on the frame.

    With less probability than `least_blank` for a blank, a frame without bounding boxes is `unknown`.
    """
    found = detector.detect(frame)
    if not found.boxes:
        return BoxPredictions(_nothing(1.0 - found.strongest, least_blank), None, ())
    animals = [detection for detection in found.boxes if detection.kind == Kind.ANIMAL]
    predictions = iter(_classify_animals(model, frame, animals))
    subjects, familiar = [], []
    for detection in found.boxes:
        if detection.kind != Kind.ANIMAL:
            subjects.append(Subject(detection.box, _detector_alone(detection), None))
            continue
        logs, score = next(predictions)
        person = decider.decide(logs)
        if person.kind == Kind.HUMAN:
            subjects.append(Subject(detection.box, person, None))
            continue
        given = _given_animal(model, logs)
        subjects.append(Subject(detection.box, _decide_animal(decider, given, score, detection.confidence), given))
        familiar.append(score)
    return _together(decider, subjects, [detection.confidence for detection in found.boxes], familiar)


def crop_of(box: Box, height_px: int, width_px: int) -> Box:
    """The part of a frame that is classified for a bounding box, whatever the frame was decoded at.

    It is the square around the box with its margin, moved inside the frame, and not higher or wider than the frame.
    """
    return square_around(box, height_px, width_px, MARGIN)


def _classify_animals(
    model: Model, frame: DecodedFrame, animals: Sequence[Detection]
) -> list[tuple[FloatArray, float | None]]:
    """(calibrated log-probabilities float32[L], familiarity) of each bounding box."""
    predictions: list[tuple[FloatArray, float | None]] = []
    for start in range(0, len(animals), _BATCH):
        crops = [crop_of(animal.box, *frame.pixels.shape[:2]) for animal in animals[start : start + _BATCH]]
        outputs = model.run(np.stack([crop_pixels(model.card, frame, crop) for crop in crops]))
        scores = familiarity(outputs, model.card.calibration.rejection)
        predictions += zip(calibrated(model, outputs.logits), scores, strict=True)
    return predictions


def _together(
    decider: Decider, subjects: Sequence[Subject], scores: Sequence[float], familiar: Sequence[float | None]
) -> BoxPredictions:
    first = subjects[0].decision
    boxes = [(s.log_probabilities, score) for s, score in zip(subjects, scores, strict=True)]
    animals = [(np.exp(logs.astype(np.float64)), score) for logs, score in boxes if logs is not None]
    if not animals:
        return BoxPredictions(first, None, tuple(subjects))
    mean = np.average([p for p, _ in animals], axis=0, weights=[score * p.max() for p, score in animals])
    with np.errstate(divide="ignore"):  # labels that are no animals have a probability of zero here
        logs = np.log(mean).astype(np.float32)
    if first.kind != Kind.ANIMAL:
        return BoxPredictions(first, logs, tuple(subjects))
    most_familiar = max((value for value in familiar if value is not None), default=None)
    decision = _decide_animal(decider, logs, most_familiar, max(score for _, score in animals))
    return BoxPredictions(decision, logs, tuple(subjects))


def _given_animal(model: Model, logs: FloatArray) -> FloatArray:
    """float32[L] log-probabilities given that it is an animal."""
    animals = np.array([label.kind == Kind.ANIMAL for label in model.card.labels])
    return log_softmax(np.where(animals, logs, np.float32(-np.inf)))


def _decide_animal(decider: Decider, logs: FloatArray, familiar: float | None, score: float) -> Decision:
    """Which animal it is; one that resembles nothing in training, or reaches no threshold, is still an animal."""
    decision = decider.decide(logs, familiar)
    candidates = tuple(
        replace(candidate, probability=candidate.probability * score)
        for candidate in decision.candidates
        if candidate.rank is not None
    )
    if decision.kind != Kind.ANIMAL:
        return Decision(
            Kind.ANIMAL, ROOT_NAME, ROOT.rank, ROOT.common_name, score, DecisionReason.ROLLED_UP, candidates
        )
    return replace(decision, confidence=decision.confidence * score, candidates=candidates)


def _detector_alone(detection: Detection) -> Decision:
    """A person or a vehicle, which the classifier is not asked about."""
    kind, score = detection.kind, detection.confidence
    return Decision(kind, None, None, kind, score, DecisionReason.CONFIDENT, (Candidate(kind, None, kind, score),))


def _nothing(confidence: float, least: float) -> Decision:
    candidates = (Candidate(Kind.BLANK, None, Kind.BLANK, confidence),)
    if confidence < least:
        reason = DecisionReason.BELOW_THRESHOLD
        return Decision(Kind.UNKNOWN, None, None, Kind.UNKNOWN, confidence, reason, candidates)
    return Decision(Kind.BLANK, None, None, Kind.BLANK, confidence, DecisionReason.BLANK, candidates)
