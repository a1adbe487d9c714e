"""A decoded frame to its decision, by the classifier alone or behind a detector."""

from dataclasses import dataclass

from edge.image.box import Box
from edge.image.decode import DecodedFrame
from edge.inference import attention_crop, box_classification
from edge.inference.box_classification import BoxPredictions, Subject, classify_boxes
from edge.inference.card import Card
from edge.inference.decision import Decider, Decision
from edge.inference.detector import Detector
from edge.inference.frame_classification import NetworkInput, Prediction, classify_frames, network_input
from edge.inference.model import Model
from edge.inference.probabilities import FloatArray


@dataclass(frozen=True, slots=True)
class Models:
    """A classifier with its decider, behind a detector where there is one."""

    classifier: Model
    decider: Decider
    detector: Detector | None = None

    @property
    def card(self) -> Card:
        """The classifier's card: its labels are those of the decisions."""
        return self.classifier.card

    @property
    def sha256(self) -> str:
        """SHA-256 of the classifier, and of the detector behind a plus: with another detector the decisions differ."""
        own = self.classifier.sha256
        return own if self.detector is None else f"{own}+{self.detector.model.sha256}"

    @property
    def name(self) -> str:
        """Name of the classifier without its version, behind the detector's name and version."""
        if self.detector is None:
            return self.card.name
        found_by = self.detector.model.card
        return f"{found_by.name} {found_by.version} + {self.card.name}"

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.card.version}"

    @property
    def decode_side_px(self) -> int:
        """The shorter side that a frame must keep when it is decoded, in pixels."""
        if self.detector is None:
            return attention_crop.decode_side_px(self.card)
        return box_classification.decode_side_px(self.card, self.detector.model.card)


@dataclass(frozen=True, slots=True)
class FrameDecision:
    """The decision on one frame, and what it rests on."""

    decision: Decision
    log_probabilities: FloatArray | None
    """float32[L], calibrated, before any species list; `None` where no bounding box was classified."""
    crop: Box | None
    """The attention crop; `None` with a detector or without attention."""
    subjects: tuple[Subject, ...]
    """The detector's bounding boxes, strongest first."""


def classify(models: Models, frame: DecodedFrame, with_crop: bool = True, least_blank: float = 0.0) -> FrameDecision:
    """Classify one frame and decide; `predict` says what the arguments mean."""
    return decide(models, predict(models, network_input(models.classifier, frame), with_crop, least_blank))


def predict(
    models: Models, prepared: NetworkInput, with_crop: bool = True, least_blank: float = 0.0
) -> Prediction | BoxPredictions:
    """What the networks make of one frame, its attention crop included unless `with_crop` is off.

    With less probability than `least_blank` for a blank, a frame without bounding boxes becomes `unknown`. One frame
    at a time: a batch saves the network no CPU time and costs memory (docs/results/device.md).
    """
    if models.detector is not None:
        return classify_boxes(models.detector, models.classifier, models.decider, prepared.frame, least_blank)
    (prediction,) = classify_frames(models.classifier, [prepared], with_crop, models.decider.is_settled)
    return prediction


def decide(models: Models, prediction: Prediction | BoxPredictions) -> FrameDecision:
    """The decision on a prediction; the pixels are no longer needed."""
    if isinstance(prediction, BoxPredictions):
        return FrameDecision(prediction.decision, prediction.log_probabilities, None, prediction.subjects)
    decision = models.decider.decide(prediction.log_probabilities, prediction.familiarity)
    return FrameDecision(decision, prediction.log_probabilities, prediction.crop, ())
