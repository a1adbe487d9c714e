"""Pictures in other sizes: quickly, and so that it matters little at which scale a frame was decoded.

A JPEG decoder shrinks by halves. Where resizing begins with halves too, a frame that was decoded at a scale and one
decoded in full come to the same grid of pixels before the last step (docs/results.md: what that changes).
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
    """uint8[H, W, 3] at that size.

    Halves, as long as each pixel of the result has two or more by two; then four samples for each, between their
    neighbours, and the mean of these. It differs from averaging whole areas by little and takes a quarter of the time.
    What shrinks by less than two, or grows, is taken between neighbours alone. All of it is arithmetic of integers that
    every processor does alike, as OpenCV's plain bilinear method and averages by other fractions are not.
    """
    shrinks = min(pixels.shape[0] / height_px, pixels.shape[1] / width_px) >= 2
    near = halved(pixels, 2 * height_px, 2 * width_px) if shrinks else pixels
    samples = 2 if shrinks else 1
    if near.shape[:2] != (samples * height_px, samples * width_px):
        size = (samples * width_px, samples * height_px)
        near = np.asarray(cv2.resize(near, size, interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)
    return np.ascontiguousarray(halved(near, height_px, width_px))
