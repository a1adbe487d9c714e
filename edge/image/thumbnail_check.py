"""A frame compared with its own EXIF thumbnail, which shows damage that no decoder notices.

Flipped bits in a JPEG's entropy-coded data often still decode, to an image that is shifted or discoloured from there
on. The camera wrote the same scene a second time, small, elsewhere in the file. A thumbnail of something else, as in an
edited image, disagrees everywhere, and then proves nothing.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge.image.resize import Pixels, halved

# Measured on the 105 real frames with thumbnails (docs/reliability.md): no place of an intact frame differs so much
# from its thumbnail, but for one whose caption was painted over (5 % of it). Of undetected bit flips that change the
# image by ten grey levels or more on average, 19 of 34 are given away.
_DIFFERENT, _LEAST_DIFFERENT = 18.0, 0.10  # grey levels of 255; share of the thumbnail's area
_ALIKE, _LEAST_ALIKE = 12.0, 0.3  # less, and it is a thumbnail of something else
# With less, no tenth of the area can be so different from the median: that is never further from the mean than this.
_LEAST_SPREAD = _DIFFERENT * (_LEAST_DIFFERENT / 2) ** 0.5
_SMOOTH_PX = 9
_LARGEST_PX = 400 * 400
_FIRST_BYTES = 200  # the EXIF segment comes first in every camera's file


def contradicts(data: bytes, pixels: Pixels) -> bool:
    """Whether a part of uint8[H, W, 3], decoded from `data` and not yet turned upright, is not in its thumbnail."""
    small = _thumbnail(data)
    return small is not None and all(map(_one_part_differs, _differences(pixels, small)))


def _differences(pixels: Pixels, small: Pixels) -> Iterator[NDArray[np.float32]]:
    """Smoothed differences in grey levels: with the thumbnail as it is, and inside its black bars where it has some."""
    height, width = small.shape
    grey = np.asarray(cv2.cvtColor(halved(pixels, height, width), cv2.COLOR_RGB2GRAY), np.uint8)
    yield _difference(grey, small)
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    wide, high = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    if (high, wide) != (height, width) and min(high, wide) > _SMOOTH_PX:
        top, left = (height - high) // 2, (width - wide) // 2
        yield _difference(grey, small[top : top + high, left : left + wide])


def _difference(grey: Pixels, small: Pixels) -> NDArray[np.float32]:
    shrunk = cv2.resize(grey, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.blur(shrunk.astype(np.float32) - small, (_SMOOTH_PX, _SMOOTH_PX)), np.float32)


def _one_part_differs(difference: NDArray[np.float32]) -> bool:
    if float(cv2.meanStdDev(difference)[1][0, 0]) < _LEAST_SPREAD:
        return False
    apart = np.abs(difference - np.median(difference))
    different, alike = (apart > _DIFFERENT).mean(), (apart < _ALIKE).mean()
    return bool(different >= _LEAST_DIFFERENT and alike >= _LEAST_ALIKE)


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
