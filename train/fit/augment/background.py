"""Replaces the surroundings of an animal by a frame of another location, or pastes the image into one."""

import cv2
import numpy as np

from edge.image.resize import Pixels
from train.data.sample import Box
from train.fit.augment.annotated_image import AnnotatedImage


def replace_background(image: AnnotatedImage, frame: Pixels, rng: np.random.Generator) -> AnnotatedImage:
    """Replace everything outside the box by `frame`, with a soft border that betrays nothing (after Beery et al. 2020,
    "Synthetic Examples Improve Generalization for Rare Classes"). An image without a box is not changed.
    """
    if image.box is None:
        return image
    height, width = image.pixels.shape[:2]
    mask = np.zeros((height, width), np.float32)
    box = image.box
    left, top = int(box.x * width), int(box.y * height)
    right, bottom = int((box.x + box.width) * width), int((box.y + box.height) * height)
    mask[top:bottom, left:right] = 1
    soft = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.04 * min(height, width)))[..., None]
    behind = _matched(_covering(frame, height, width, rng), image.pixels)
    return AnnotatedImage((image.pixels * soft + behind * (1 - soft)).astype(np.uint8), image.box, image.keypoints)


def paste_into(
    image: AnnotatedImage, frame: Pixels | None, side: tuple[float, float], rng: np.random.Generator
) -> AnnotatedImage:
    """The image as a part of a frame of the same size, so that crops train a model for whole frames.

    `side` is the range of the pasted side as a fraction of the frame's.

    Without a frame the surroundings are the image itself, enlarged and out of focus. The box becomes the pasted part
    (or the box within it).
    """
    height, width = image.pixels.shape[:2]
    share = float(rng.uniform(*side))
    high, wide = max(8, round(height * share)), max(8, round(width * share))
    top, left = int(rng.integers(0, height - high + 1)), int(rng.integers(0, width - wide + 1))
    if frame is None:
        behind = cv2.GaussianBlur(_covering(image.pixels, height, width, rng), (0, 0), width * 0.04)
    else:
        behind = _matched(_covering(frame, height, width, rng), image.pixels)
    pixels = _blended(behind, image.pixels, top, left, high, wide)
    inner = image.box or Box(0.0, 0.0, 1.0, 1.0)
    sx, sy = wide / width, high / height
    box = Box(left / width + inner.x * sx, top / height + inner.y * sy, inner.width * sx, inner.height * sy)
    points = {n: (left / width + x * sx, top / height + y * sy) for n, (x, y) in image.keypoints.items()}
    return AnnotatedImage(pixels, box, points)


def place_in(frame: Pixels, crop: Pixels, top: int, left: int, high: int, wide: int) -> Pixels:
    """`frame` in the light and colours of the crop, with the crop pasted at `high` x `wide` pixels."""
    return _blended(_matched(frame, crop), crop, top, left, high, wide)


def _blended(behind: np.ndarray, crop: Pixels, top: int, left: int, high: int, wide: int) -> Pixels:
    """The crop pasted into an image; its border fades, so that no edge betrays it."""
    behind = behind.astype(np.float32)
    canvas, mask = behind.copy(), np.zeros(behind.shape[:2], np.float32)
    method = cv2.INTER_AREA if high <= crop.shape[0] and wide <= crop.shape[1] else cv2.INTER_LINEAR
    canvas[top : top + high, left : left + wide] = cv2.resize(crop, (wide, high), interpolation=method)
    edge = max(1, round(0.06 * min(high, wide)))
    mask[top + edge : top + high - edge, left + edge : left + wide - edge] = 1
    soft = cv2.GaussianBlur(mask, (0, 0), edge / 2)[..., None]
    return np.asarray((canvas * soft + behind * (1 - soft)).astype(np.uint8))


def _covering(frame: Pixels, height: int, width: int, rng: np.random.Generator) -> Pixels:
    """A random part of `frame`, of at least half its side, at the wanted size."""
    share = rng.uniform(0.5, 1.0)
    high, wide = max(2, round(frame.shape[0] * share)), max(2, round(frame.shape[1] * share))
    top, left = int(rng.integers(0, frame.shape[0] - high + 1)), int(rng.integers(0, frame.shape[1] - wide + 1))
    part = frame[top : top + high, left : left + wide]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    return np.asarray(cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _matched(frame: Pixels, pixels: Pixels) -> np.ndarray:
    """`frame` in the light and colours of `pixels` (mean and spread of each channel; Reinhard et al. 2001)."""
    source, target = frame.astype(np.float32), pixels.astype(np.float32)
    spread = target.std((0, 1)) / np.maximum(source.std((0, 1)), 4.0)
    moved = (source - source.mean((0, 1))) * np.clip(spread, 0.3, 2.0) + target.mean((0, 1))
    return np.asarray(np.clip(moved, 0, 255), np.float32)
