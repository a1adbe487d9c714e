"""The attention crop: the part of a frame that drew the network's attention, classified again in higher resolution."""

from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.image.decode import DecodedFrame
from edge.image.resize import Pixels, halved, resize_to_input
from edge.inference.card import Card, SecondCrop
from edge.inference.probabilities import FloatArray, as_float32, log_softmax, logsumexp

BLOCK_PX = 8  # of a JPEG; its decoder makes whole pixels of it at each scale down to an eighth
LEAST_BLOCKS = 32  # in the shorter side; where blocks are coarser than that, a place counts for more

IsSettled = Callable[[FloatArray, float | None], bool]
"""Whether log-probabilities float32[L] and familiarity of a whole frame settle its decision (`Decider.is_settled`)."""


def _never_settled(log_probabilities: FloatArray, familiarity: float | None) -> bool:
    return False


def decode_side_px(card: Card, crop_fraction: float | None = None) -> int:
    """The shorter side that a frame must keep when it is decoded: enough for the input and for the attention crop.

    `crop_fraction` is the crop's side over the frame's shorter side; with `None` the card says it.
    """
    side = max(card.input_height_px, card.input_width_px)
    plan = card.calibration.second_look
    return int(np.ceil(side / (crop_fraction or (1.0 if plan is None else plan.region_fraction))))


def crop_pixels(card: Card, frame: DecodedFrame, crop: Box | None) -> Pixels:
    """The crop as the network's input, uint8[H, W, 3]; `None` takes the whole frame."""
    part = cut_crop(frame.pixels, crop, max(card.input_height_px, card.input_width_px))
    return resize_to_input(part, card.input_height_px, card.input_width_px, card.fit)


def cut_crop(pixels: Pixels, crop: Box | None, side_px: int) -> Pixels:
    """The crop for an input whose longer side is `side_px`, before the last resizing, uint8[H, W, 3].

    It has no more detail than in the smallest decoding (`decode_side_px`), whatever the frame was decoded at.
    """
    return halved(pixels if crop is None else crop.cut(pixels), side_px, side_px)


def needs_crop(
    plan: SecondCrop, whole: FloatArray, familiarity: Sequence[float | None], is_settled: IsSettled = _never_settled
) -> list[int]:
    """Which of N frames need their attention crop, given float32[N, L] log-probabilities of the whole frames.

    The others are decided by the whole frame: it gives a label the probability that the plan asks for, or `is_settled`.
    """
    unsure = np.flatnonzero(whole.max(axis=1) < np.log(plan.unless_above)).tolist()
    return [i for i in unsure if not is_settled(whole[i], familiarity[i])]


def combine(whole: FloatArray, crop: FloatArray, plan: SecondCrop, blank: NDArray[np.bool_]) -> FloatArray:
    """Log-probabilities float32[L] of the whole frame and of its crop as one set of log-probabilities.

    Whether there is anything at all is asked of both (weighted log-odds of blank, a bool[L] of its labels); what it
    is, mostly of the crop (weighted geometric mean of the probabilities given that the frame is not blank).
    """
    if not blank.any():
        return log_softmax(as_float32((1 - plan.weight) * whole + plan.weight * crop))
    other = ~blank
    whole_other, crop_other = whole[other].astype(np.float64), crop[other].astype(np.float64)
    whole_blank, crop_blank = whole[blank].astype(np.float64), crop[blank].astype(np.float64)
    empty, something = logsumexp(whole_blank), logsumexp(whole_other)
    log_odds = (1 - plan.blank_weight) * (empty - something)
    log_odds += plan.blank_weight * (logsumexp(crop_blank) - logsumexp(crop_other))
    # What is taken off all of them alike goes with their sum.
    what = (1 - plan.weight) * whole_other + plan.weight * crop_other
    mixed = np.empty_like(whole)
    mixed[other] = what - (logsumexp(what) + np.logaddexp(0.0, log_odds))
    mixed[blank] = whole_blank - (empty + np.logaddexp(0.0, -log_odds))
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
    """Number of cells in each of those sums."""
    return _neighbours(np.ones((height, width), np.float32))
