"""Resizing, fast and nearly independent of the scale at which a frame was decoded.

A JPEG decoder shrinks by halves. Where resizing begins with halves too, a frame that was decoded at a scale and one
decoded in full come to the same grid of pixels before the last step (docs/results/device.md says what that changes).
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


def resize_to_input(pixels: Pixels, height_px: int, width_px: int, mode: str) -> Pixels:
    """Resize uint8[H, W, 3] to the model's input, in the way that the model card names.

    squash: the whole image, proportions changed. letterbox: the whole image, proportions kept, grey bars.
    crop: the largest centred part of the input's proportions.
    """
    height, width = pixels.shape[:2]
    if mode == "squash":
        return resize(pixels, height_px, width_px)
    scales = (height_px / height, width_px / width)
    if mode == "crop":
        scale = max(scales)
        high, wide = min(height, round(height_px / scale)), min(width, round(width_px / scale))
        top, left = (height - high) // 2, (width - wide) // 2
        return resize(pixels[top : top + high, left : left + wide], height_px, width_px)
    if mode == "letterbox":
        scale = min(scales)
        high, wide = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (height_px - high) // 2, (width_px - wide) // 2
        canvas = np.full((height_px, width_px, 3), 127, np.uint8)  # 127 is zero after normalisation
        canvas[top : top + high, left : left + wide] = resize(pixels, high, wide)
        return canvas
    raise ValueError(f"the way to resize is {mode!r}, expected squash, letterbox or crop")
