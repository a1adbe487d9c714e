"""A frame through the classifier: the whole frame, then its attention crop where that can matter."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.image.decode import DecodedFrame
from edge.image.resize import Pixels
from edge.inference.attention_crop import IsSettled, attention_crops, combine, crop_pixels, needs_crop
from edge.inference.card import Rejection
from edge.inference.model import Model, Outputs
from edge.inference.probabilities import FloatArray, log_softmax, logsumexp

_FRACTION = 0.5  # of the frame's shorter side, where the model card plans no crop


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A decoded frame, ready for the network."""

    frame: DecodedFrame
    whole: Pixels
    """The whole frame as the network's input, uint8[H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier makes of one frame."""

    log_probabilities: FloatArray
    """float32[L], calibrated, whole frame and crop combined, before any species list."""
    familiarity: float | None
    """The model card's rejection score, higher is more familiar; `None` when the card names none."""
    crop: Box | None
    """The attention crop; `None` for a model without attention."""
    inputs: int
    """How often the network ran: 1 (the whole frame) or 2 (its crop too)."""


def network_input(model: Model, frame: DecodedFrame) -> NetworkInput:
    """Resize a decoded frame to the network's input, so that its classification can wait for other frames."""
    return NetworkInput(frame, model.pixels(frame))


def classify_frames(
    model: Model,
    inputs: Sequence[NetworkInput],
    with_crop: bool = True,
    is_settled: IsSettled = lambda log_probabilities, familiarity: False,
) -> list[Prediction]:
    """Classify a batch of frames; each one's attention crop only where that can matter.

    The model card says where by a probability; `is_settled` by the whole frame's log-probabilities and familiarity
    (`Decider.is_settled`).
    """
    plan = model.card.calibration.second_look if with_crop else None
    outputs = model.run(_batch([one.whole for one in inputs]))
    first = calibrated(model, outputs.logits)
    shapes = [(one.frame.height_px, one.frame.width_px) for one in inputs]
    crops = attention_crops(outputs.attention, shapes, plan.region_fraction if plan else _FRACTION)
    familiar = familiarity(outputs, model.card.calibration.rejection)
    combined, ran = first.copy(), [1] * len(inputs)
    cropped = [i for i in needs_crop(plan, first, familiar, is_settled) if crops[i]] if plan else []
    if plan and cropped:
        pixels = [crop_pixels(model.card, inputs[i].frame, crops[i]) for i in cropped]
        closer = calibrated(model, model.run(_batch(pixels)).logits)
        for i, log_probabilities in zip(cropped, closer, strict=True):
            combined[i] = combine(first[i], log_probabilities, plan, model.blank_labels)
            ran[i] = 2
    return [Prediction(combined[i], familiar[i], crops[i], ran[i]) for i in range(len(inputs))]


def calibrated(model: Model, logits: FloatArray) -> FloatArray:
    """The model's calibrated log-probabilities, float32[N, L], of its logits float32[N, L]."""
    return log_softmax(logits + model.label_bias, model.card.calibration.temperature)


def familiarity(outputs: Outputs, rejection: Rejection | None) -> list[float | None]:
    """The model card's rejection score for each frame; higher is more familiar.

    energy: log-sum-exp of the logits (Liu et al. 2020, "Energy-based Out-of-distribution Detection"). max_logit: the
    largest one (Hendrycks et al. 2022).
    """
    if rejection is None:
        return [None] * len(outputs.logits)
    score = outputs.logits.max(axis=1) if rejection.score == "max_logit" else logsumexp(outputs.logits)
    return [float(value) for value in score]


def _batch(inputs: Sequence[Pixels]) -> NDArray[np.uint8]:
    """uint8[N, H, W, 3]; a single image is not copied."""
    return inputs[0][None] if len(inputs) == 1 else np.stack(inputs)
