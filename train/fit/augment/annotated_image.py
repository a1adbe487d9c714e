"""An image with bounding box and keypoints, which move with every change of geometry."""

import re
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge.image.resize import Pixels
from train.data.sample import Box

_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"))
_OTHER_SIDE = {**dict(_SIDES), **{right: left for left, right in _SIDES}}


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image whose bounding box and keypoints are given as fractions of its sides."""

    pixels: Pixels
    """uint8[H, W, 3], RGB"""
    box: Box | None = None
    keypoints: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RotatedCrop:
    """A rotated rectangle of an image, in the image's pixels; it may reach beyond the edge."""

    x: float
    """Horizontal position of the centre."""
    y: float
    """Vertical position of the centre."""
    width: float
    height: float
    angle_deg: float = 0.0
    """Angle between the horizontals of crop and image, clockwise."""
    mirrored: bool = False


def cut(image: AnnotatedImage, crop: RotatedCrop, size_px: int) -> AnnotatedImage:
    """The crop, resampled once to size_px x size_px; beyond the edge the image is mirrored."""
    pixels, scale = _shrunk(image.pixels, crop, size_px)
    matrix = _to_crop(crop, size_px)
    taken = cv2.warpAffine(
        pixels,
        _of_centres(matrix @ np.diag([1 / scale, 1 / scale, 1.0])),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    height, width = image.pixels.shape[:2]
    box = None if image.box is None else _moved_box(image.box, matrix, width, height, size_px)
    points = {}
    for name, (x, y) in image.keypoints.items():
        at = matrix @ np.array([x * width, y * height, 1.0]) / size_px
        if 0 <= at[0] <= 1 and 0 <= at[1] <= 1:
            points[_swap_side(name) if crop.mirrored else name] = (float(at[0]), float(at[1]))
    return AnnotatedImage(np.asarray(taken, np.uint8), box, points)


def _shrunk(pixels: Pixels, crop: RotatedCrop, size_px: int) -> tuple[Pixels, float]:
    """The image, averaged down where one bilinear step would alias, and the factor of its sides."""
    scale = 1.25 * size_px / min(crop.width, crop.height)
    if scale > 0.7:
        return pixels, 1.0
    height, width = pixels.shape[:2]
    scale = max(scale, 2 / min(height, width))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale


def _to_crop(crop: RotatedCrop, size_px: int) -> np.ndarray:
    """float64[2, 3]: transforms the image's pixels to the crop's pixels."""
    angle = np.deg2rad(crop.angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.diag([size_px / crop.width * (-1 if crop.mirrored else 1), size_px / crop.height])
    linear = stretch @ turn
    offset = np.full(2, size_px / 2) - linear @ np.array([crop.x, crop.y])
    return np.column_stack([linear, offset])


def _of_centres(matrix: np.ndarray) -> np.ndarray:
    """float64[2, 3]: the same transform for OpenCV, which counts the centres of pixels from 0, where `matrix` counts
    from 0.5.
    """
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2].sum(1) / 2 - 0.5])


def _moved_box(box: Box, matrix: np.ndarray, width: int, height: int, size_px: int) -> Box | None:
    """The upright box around the moved corners; `None` when it lies outside the crop."""
    xs, ys = (box.x, box.x + box.width), (box.y, box.y + box.height)
    corners = np.array([(x * width, y * height, 1.0) for x in xs for y in ys])
    moved = corners @ matrix.T / size_px
    (left, top), (right, bottom) = moved.min(0), moved.max(0)
    clipped = Box(float(left), float(top), float(right - left), float(bottom - top)).clipped()
    return clipped if clipped.width > 0 and clipped.height > 0 else None


def words(name: str) -> list[str]:
    """The words of a keypoint's name in lower case: `Left Eye` and `leftEye` have the same two."""
    return [word.lower() for word in _WORD.findall(name)]


def _swap_side(name: str) -> str:
    """The keypoint's name in a mirrored image: the left wing becomes the right wing."""
    return _WORD.sub(lambda word: _OTHER_SIDE.get(word[0], word[0]), name)
