"""How much of a frame differs from its own EXIF thumbnail, the same scene a second time elsewhere in the file.

A difference alone is no damage: people mask, crop and brighten images and keep the old thumbnail, and cameras stamp
captions on the image only. `edge.image.damage` tells the two apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge.image.resize import Pixels, halved

# Measured on the 105 real frames with thumbnails (docs/reliability.md): nothing of an intact frame differs so much from
# its thumbnail, but for one whose caption was painted over (5 % of it).
_DIFFERENT = 18.0  # grey levels of 255
SUSPICIOUS_SHARE = 0.02
"""Share of the thumbnail's area; with less, damage is not looked for."""
DOUBTFUL_SHARE = 0.10
"""Share of the thumbnail's area; with more, the frame's row says so."""
# With less, no such share of the area can be so different from the median: that is never further from the mean.
_LEAST_SPREAD = _DIFFERENT * (SUSPICIOUS_SHARE / 2) ** 0.5
_SMOOTH_PX = 9
_LARGEST_PX = 400 * 400
_FIRST_BYTES = 200  # the EXIF segment comes first in every camera's file


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a frame and its thumbnail compare."""

    share: float
    """Share of the area that differs."""
    thumbnail: Pixels
    """The thumbnail in grey, uint8[h, w], without black bars."""


def compare_with_thumbnail(data: bytes, pixels: Pixels) -> Comparison | None:
    """Compare uint8[H, W, 3], decoded from `data` and not yet turned upright; `None` without a thumbnail."""
    small = _thumbnail(data)
    best: Comparison | None = None
    for part in () if small is None else _without_bars(pixels, small):
        share = _share_that_differs(_difference(pixels, part))
        if best is None or share < best.share:
            best = Comparison(share, part)
        if share < SUSPICIOUS_SHARE:
            break
    return best


def _without_bars(pixels: Pixels, small: Pixels) -> Iterator[Pixels]:
    """The thumbnail as it is, and what is inside its black bars where it may have some."""
    yield small
    height, width = small.shape
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    wide, high = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    if (high, wide) != (height, width) and min(high, wide) > _SMOOTH_PX:
        top, left = (height - high) // 2, (width - wide) // 2
        yield small[top : top + high, left : left + wide]


def _difference(pixels: Pixels, small: Pixels) -> NDArray[np.float32]:
    """Smoothed differences in grey levels."""
    height, width = small.shape
    grey = np.asarray(cv2.cvtColor(halved(pixels, height, width), cv2.COLOR_RGB2GRAY), np.uint8)
    shrunk = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.blur(shrunk.astype(np.float32) - small, (_SMOOTH_PX, _SMOOTH_PX)), np.float32)


def _share_that_differs(difference: NDArray[np.float32]) -> float:
    if float(cv2.meanStdDev(difference)[1][0, 0]) < _LEAST_SPREAD:
        return 0.0
    return float((np.abs(difference - np.median(difference)) > _DIFFERENT).mean())


def _thumbnail(data: bytes) -> Pixels | None:
    """The thumbnail inside the EXIF segment in grey, uint8[h, w]; `None` where there is none that can be read."""
    begin = data.find(b"Exif\0\0", 0, _FIRST_BYTES)
    if begin < 4:
        return None
    segment = data[begin : begin - 2 + int.from_bytes(data[begin - 2 : begin], "big")]
    start, end = segment.find(b"\xff\xd8\xff"), segment.rfind(b"\xff\xd9")
    if start < 0 or end < start:
        return None
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(segment[start : end + 2])
        if not min(height, width) > _SMOOTH_PX or height * width > _LARGEST_PX:
            return None
        return np.asarray(simplejpeg.decode_jpeg(segment[start : end + 2], "GRAY", strict=True)[:, :, 0], np.uint8)
    except ValueError:
        return None
