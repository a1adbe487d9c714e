"""A picture with what is known about where its animal is, carried through every change of geometry."""

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
class Scene:
    """Box and keypoints are fractions of the picture's sides."""

    pixels: Pixels
    """uint8[H, W, 3], RGB"""
    box: Box | None = None
    keypoints: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """A rotated rectangle of a scene, in the scene's pixels; it may reach beyond the edge."""

    x: float
    """Of the centre."""
    y: float
    width: float
    height: float
    angle_deg: float = 0.0
    """The view's own horizontal, counted clockwise from the scene's."""
    mirrored: bool = False


def take(scene: Scene, view: View, size_px: int) -> Scene:
    """The view, resampled once to size_px x size_px; beyond the edge the picture is mirrored."""
    pixels, scale = _shrunk(scene.pixels, view, size_px)
    matrix = _to_view(view, size_px)
    taken = cv2.warpAffine(
        pixels,
        _of_centres(matrix @ np.diag([1 / scale, 1 / scale, 1.0])),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    height, width = scene.pixels.shape[:2]
    box = None if scene.box is None else _moved_box(scene.box, matrix, width, height, size_px)
    points = {}
    for name, (x, y) in scene.keypoints.items():
        at = matrix @ np.array([x * width, y * height, 1.0]) / size_px
        if 0 <= at[0] <= 1 and 0 <= at[1] <= 1:
            points[_swap_side(name) if view.mirrored else name] = (float(at[0]), float(at[1]))
    return Scene(np.asarray(taken, np.uint8), box, points)


def _shrunk(pixels: Pixels, view: View, size_px: int) -> tuple[Pixels, float]:
    """Averaged down first where one bilinear step would alias; and the factor."""
    scale = 1.25 * size_px / min(view.width, view.height)
    if scale > 0.7:
        return pixels, 1.0
    height, width = pixels.shape[:2]
    scale = max(scale, 2 / min(height, width))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), scale


def _to_view(view: View, size_px: int) -> np.ndarray:
    """float64[2, 3]: scene pixels to view pixels."""
    angle = np.deg2rad(view.angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.diag([size_px / view.width * (-1 if view.mirrored else 1), size_px / view.height])
    linear = stretch @ turn
    offset = np.full(2, size_px / 2) - linear @ np.array([view.x, view.y])
    return np.column_stack([linear, offset])


def _of_centres(matrix: np.ndarray) -> np.ndarray:
    """float64[2, 3]: the same for pixels' centres, which OpenCV counts from 0 and `matrix` from 0.5."""
    return np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2].sum(1) / 2 - 0.5])


def _moved_box(box: Box, matrix: np.ndarray, width: int, height: int, size_px: int) -> Box | None:
    """The upright box around the moved corners; `None` when nothing of it is left in view."""
    xs, ys = (box.x, box.x + box.width), (box.y, box.y + box.height)
    corners = np.array([(x * width, y * height, 1.0) for x in xs for y in ys])
    moved = corners @ matrix.T / size_px
    (left, top), (right, bottom) = moved.min(0), moved.max(0)
    clipped = Box(float(left), float(top), float(right - left), float(bottom - top)).clipped()
    return clipped if clipped.width > 0 and clipped.height > 0 else None


def words(name: str) -> list[str]:
    """Those of a keypoint's name, in small letters: `Left Eye` and `leftEye` have the same two."""
    return [word.lower() for word in _WORD.findall(name)]


def _swap_side(name: str) -> str:
    """A mirrored left wing is a right wing."""
    return _WORD.sub(lambda word: _OTHER_SIDE.get(word[0], word[0]), name)
