"""Features of the scene behind the animal: infra-red or colour, and a grey miniature for comparing days."""

import cv2
import numpy as np

from edge.image.resize import Pixels

MINIATURE_HEIGHT_PX, MINIATURE_WIDTH_PX = 12, 16
# The strips at the top and bottom carry coloured logos and captions on many cameras.
_STRIP_FRACTION = 1 / 8
_COLOUR_SPREAD = 6  # of 255; night frames were seen at 3 and below, the palest day frames at 10 and above


def is_infrared(pixels: Pixels) -> bool:
    """Whether uint8[H, W, 3] holds no colour: 95 % of it is grey to within a few levels."""
    sample = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_NEAREST)
    strip = round(len(sample) * _STRIP_FRACTION)
    middle = sample[strip:-strip]
    red, green, blue = cv2.split(middle)  # plane by plane is ten times quicker than along the last axis
    spread = cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)
    return bool(np.count_nonzero(spread >= _COLOUR_SPREAD) < 0.05 * red.size)


def miniature(pixels: Pixels) -> Pixels:
    """uint8[12, 16]: the frame in grey, small enough to keep for every frame."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # By a power of two first: a network's input is a multiple of it, and that is several times quicker.
    height, width = (
        max(least, side // 2 ** (max(side // least, 1).bit_length() - 1))
        for side, least in zip(grey.shape, (MINIATURE_HEIGHT_PX, MINIATURE_WIDTH_PX), strict=True)
    )
    coarse = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(coarse, (MINIATURE_WIDTH_PX, MINIATURE_HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
