"""A decoded frame to its answer: by looks at the whole and at what drew attention, or by a detector's boxes."""

from dataclasses import dataclass

from edge.image.box import Box
from edge.inference import attention_crop as look
from edge.inference.attention_crop import NetworkInput, Prediction
from edge.inference.box_classification import BoxPredictions, Subject, classify_boxes
from edge.inference.decision import Decision
from edge.inference.probabilities import FloatArray
from edge.service.model_reload import Models


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision on one frame, and what it rests on."""

    decision: Decision
    log_probabilities: FloatArray | None
    """float32[L], calibrated, before any species list; `None` where no box was classified."""
    region: Box | None
    """Where the attention went; `None` with a detector or without attention."""
    subjects: tuple[Subject, ...]
    """The detector's boxes."""


def answer(models: Models, view: NetworkInput, second_look: bool = True, least_blank: float = 0.0) -> Answer:
    """Look at one frame and decide. With less than `least_blank` for a blank, one without boxes is `unknown`."""
    return decide(models, take_look(models, view, second_look, least_blank))


def take_look(
    models: Models, view: NetworkInput, second_look: bool = True, least_blank: float = 0.0
) -> Prediction | BoxPredictions:
    """What the networks make of one frame, see `answer`.

    One frame at a time: a batch saves the network no CPU time and costs memory (docs/results.md).
    """
    if models.detector is not None:
        return classify_boxes(models.detector, models.classifier, models.decider, view.picture, least_blank)
    (seen,) = look.look(models.classifier, [view], second_look, models.decider.is_settled)
    return seen


def decide(models: Models, seen: Prediction | BoxPredictions) -> Answer:
    """The answer of a look; needs no picture any more."""
    if isinstance(seen, BoxPredictions):
        return Answer(seen.decision, seen.log_probabilities, None, seen.subjects)
    decision = models.decider.decide(seen.log_probabilities, seen.familiarity)
    return Answer(decision, seen.log_probabilities, seen.region, ())
