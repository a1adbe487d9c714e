"""Pictures in other sizes: quickly, and so that it matters little at which scale a frame was decoded.

A JPEG decoder shrinks by halves. When every resizing begins with the same halves, a frame that was decoded at a scale
and one decoded in full come to the same grid of pixels before the last step (docs/results.md: what that changes).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def halved(pixels: Pixels, height_px: int, width_px: int) -> Pixels:
    """uint8[H, W, ...] averaged by halves along each axis, as long as it keeps that size; an odd last row is left out.

    Several times quicker than averaging by other fractions.
    """
    while True:
        down = 2 if pixels.shape[0] >= 2 * height_px else 1
        across = 2 if pixels.shape[1] >= 2 * width_px else 1
        if down == across == 1:
            return pixels
        high, wide = pixels.shape[0] // down, pixels.shape[1] // across
        smaller = cv2.resize(pixels[: down * high, : across * wide], (wide, high), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(smaller, np.uint8)


def resize(pixels: Pixels, height_px: int, width_px: int) -> Pixels:
    """uint8[H, W, 3] at that size: halves first, then between neighbouring pixels."""
    near = halved(pixels, height_px, width_px)
    if near.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(near)
    return np.asarray(cv2.resize(near, (width_px, height_px), interpolation=cv2.INTER_LINEAR), np.uint8)
