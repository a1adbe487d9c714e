"""A frame through the model: a look at the whole, a second look at what drew attention, one set of probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.image.decode import DecodedFrame, fit
from edge.image.resize import Pixels, halved
from edge.inference.card import Rejection, SecondCrop
from edge.inference.model import Model, Outputs
from edge.inference.probabilities import FloatArray, as_float32, log_softmax, logsumexp

BLOCK_PX = 8  # of a JPEG; its decoder makes whole pixels of it at each scale down to an eighth
LEAST_BLOCKS = 32  # in the shorter side; where blocks are coarser than that, a place counts for more

IsSettled = Callable[[FloatArray, float | None], bool]
"""Whether log-probabilities float32[L] and familiarity of a whole frame settle its decision (`Decider.is_settled`)."""


def _never_settled(log_probabilities: FloatArray, familiarity: float | None) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A decoded frame, ready for its looks."""

    picture: DecodedFrame
    whole: Pixels
    """The whole frame as the network's input, uint8[H, W, 3]."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model makes of one frame."""

    log_probabilities: FloatArray
    """float32[L], calibrated, both looks combined, before any species list."""
    familiarity: float | None
    """The card's rejection score, higher is more familiar; `None` when the card names none."""
    region: Box | None
    """Where the attention went; `None` for a model without attention."""
    looks: int
    """1 or 2."""


def view(model: Model, picture: DecodedFrame) -> NetworkInput:
    """Fit a decoded frame to the network, so that looking at it can wait for others."""
    return NetworkInput(picture, model.pixels(picture))


def look(
    model: Model,
    views: Sequence[NetworkInput],
    second: bool = True,
    is_settled: IsSettled = _never_settled,
) -> list[Prediction]:
    """Look at a batch of frames; each gets its second look only where that can matter.

    The card says so by a probability; `is_settled` by the first look's log-probabilities and familiarity
    (`Decider.is_settled`).
    """
    plan = model.card.calibration.second_look if second else None
    outputs = model.run(_batch([view.whole for view in views]))
    first = calibrated(model, outputs.logits)
    fraction = plan.region_fraction if plan else 0.5
    shapes = [(view.picture.height_px, view.picture.width_px) for view in views]
    regions = attention_crops(outputs.attention, shapes, fraction)
    combined, looks = first.copy(), [1] * len(views)
    familiar = familiarity(outputs, model.card.calibration.rejection)
    again = [i for i in needs_crop(plan, first, familiar, is_settled) if regions[i]] if plan else []
    if plan and again:
        inputs = [crop_pixels(model, views[i].picture, regions[i]) for i in again]
        seconds = calibrated(model, model.run(_batch(inputs)).logits)
        for i, lp in zip(again, seconds, strict=True):
            combined[i] = combine(first[i], lp, plan, model.blank_labels)
            looks[i] = 2
    return [Prediction(combined[i], familiar[i], regions[i], looks[i]) for i in range(len(views))]


def needs_crop(
    plan: SecondCrop, first: FloatArray, familiarity: Sequence[float | None], is_settled: IsSettled = _never_settled
) -> list[int]:
    """Which of N frames need their attention crop, given float32[N, L] log-probabilities of the whole frames.

    The others are decided by the whole frame: it gives a label the probability that the plan asks for, or `is_settled`.
    """
    unsure = np.flatnonzero(first.max(axis=1) < np.log(plan.unless_above)).tolist()
    return [i for i in unsure if not is_settled(first[i], familiarity[i])]


def _batch(inputs: Sequence[Pixels]) -> NDArray[np.uint8]:
    """uint8[N, H, W, 3]; of one picture without a copy."""
    return inputs[0][None] if len(inputs) == 1 else np.stack(inputs)


def decode_side_px(model: Model) -> int:
    """The shorter side that a frame must keep when it is decoded: enough for the input and for the second look."""
    side = max(model.card.input_height_px, model.card.input_width_px)
    plan = model.card.calibration.second_look
    return int(np.ceil(side / (1.0 if plan is None else plan.region_fraction)))


def crop_pixels(model: Model, picture: DecodedFrame, region: Box | None) -> Pixels:
    """The region as the network's input, uint8[H, W, 3]."""
    card = model.card
    part = cut_crop(picture.pixels, region, max(card.input_height_px, card.input_width_px))
    return fit(part, card.input_height_px, card.input_width_px, card.fit)


def cut_crop(pixels: Pixels, region: Box | None, side_px: int) -> Pixels:
    """The region of a decoded frame for an input of that longer side, before it is resized to it: uint8[H, W, 3].

    In no more detail than it has in the smallest decoding (`decode_side_px`), whatever the frame was decoded at.
    """
    return halved(pixels if region is None else region.cut(pixels), side_px, side_px)


def calibrated(model: Model, logits: FloatArray) -> FloatArray:
    """The model's calibrated log-probabilities, float32[N, L], of one look."""
    return log_softmax(logits + model.label_bias, model.card.calibration.temperature)


def combine(first: FloatArray, second: FloatArray, plan: SecondCrop, blank: NDArray[np.bool_]) -> FloatArray:
    """Two looks' float32[L] log-probabilities as one.

    Whether there is anything at all is asked of both looks (weighted log-odds of blank, a bool[L] of its labels); what
    it is, mostly of the closer one (weighted geometric mean of the probabilities given that the frame is not blank).
    """
    if not blank.any():
        return log_softmax(as_float32((1 - plan.weight) * first + plan.weight * second))
    other = ~blank
    first_other, second_other = first[other].astype(np.float64), second[other].astype(np.float64)
    first_blank, second_blank = first[blank].astype(np.float64), second[blank].astype(np.float64)
    empty, something = logsumexp(first_blank), logsumexp(first_other)
    log_odds = (1 - plan.blank_weight) * (empty - something)
    log_odds += plan.blank_weight * (logsumexp(second_blank) - logsumexp(second_other))
    # What is taken off all of them alike goes with their sum.
    what = (1 - plan.weight) * first_other + plan.weight * second_other
    mixed = np.empty_like(first)
    mixed[other] = what - (logsumexp(what) + np.logaddexp(0.0, log_odds))
    mixed[blank] = first_blank - (empty + np.logaddexp(0.0, -log_odds))
    return mixed


def attention_crops(
    attention: FloatArray | None, shapes: Sequence[tuple[int, int]], fraction: float
) -> list[Box | None]:
    """For each frame the square around the peak of its attention, float32[N, M, h, w].

    `shapes` holds each frame's (height, width) in pixels, `fraction` is the square's side over the shorter of them.
    The part maps are summed and smoothed over 3 x 3 cells, so that one hot cell in the background weighs less than a
    body. The square is moved inside the frame where it would leave it, and stands on whole blocks of the JPEG, so that
    it is cut out of the same pixels at each scale that a decoder has.
    """
    if attention is None:
        return [None] * len(shapes)
    boxes: list[Box | None] = []
    high, wide = attention.shape[2:]
    for heat, (height_px, width_px) in zip(attention.sum(axis=1), shapes, strict=True):
        row, column = divmod(int(_smooth(heat).argmax()), wide)
        block = BLOCK_PX if min(height_px, width_px) >= LEAST_BLOCKS * BLOCK_PX else 1
        side_px = max(1, int(fraction * min(height_px, width_px) / block)) * block
        at = ((column + 0.5) / wide * width_px, (row + 0.5) / high * height_px)
        x_px, y_px = (
            int(min(max(middle - side_px / 2, 0.0), longest - side_px) / block) * block
            for middle, longest in zip(at, (width_px, height_px), strict=True)
        )
        boxes.append(Box(x_px / width_px, y_px / height_px, side_px / width_px, side_px / height_px))
    return boxes


def _smooth(heat: FloatArray) -> FloatArray:
    """Mean of each cell of float32[h, w] and its neighbours inside the map."""
    return _neighbours(heat) / _cells(*heat.shape)


def _neighbours(heat: FloatArray) -> FloatArray:
    """Sum of each cell of float32[h, w] and its neighbours inside the map."""
    return as_float32(cv2.filter2D(heat, -1, np.ones((3, 3), np.float32), borderType=cv2.BORDER_CONSTANT))


@cache
def _cells(height: int, width: int) -> FloatArray:
    """How many cells each of those sums has."""
    return _neighbours(np.ones((height, width), np.float32))


def familiarity(outputs: Outputs, rejection: Rejection | None) -> list[float | None]:
    """The card's rejection score for each frame; higher is more familiar.

    energy: log-sum-exp of the logits (Liu et al. 2020, "Energy-based Out-of-distribution Detection"). max_logit: the
    largest one (Hendrycks et al. 2022).
    """
    logits = outputs.logits
    if rejection is None:
        return [None] * len(logits)
    scores = logits.max(axis=1) if rejection.score == "max_logit" else logsumexp(logits)
    return [float(value) for value in scores]
