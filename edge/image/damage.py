"""Damage in a JPEG that no decoder notices, told by the brightness of its blocks as it is stored.

A flipped bit in compressed data often still decodes, to an image whose brightness is shifted from one block to the end.
The decoder cuts off what is above white or below black, so that such an image may look like one that a person painted
over. Two things tell them apart:

- Where brightness is shifted, dark blocks come below black, or bright ones above white. No encoder writes that,
  whatever was done to the image before.
- Row by row from the top left, the stored brightness follows the frame's own thumbnail up to one block, and from that
  block to the end it follows it with a constant difference. An edit begins at the left edge, or has other contents.
"""

import struct

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge.image.containers.jpeg_segments import QUANTIZATION, UnusualJpeg, segments
from edge.image.resize import Pixels

# Measured on 147 intact frames, 3,780 edited copies, and frames with flipped bits or zeroed blocks
# (docs/reliability.md): no intact or edited one has either sign.
_BLOCK_PX = 8
_COEFFICIENTS = 64
_DIVISOR = 4  # the decoder then shows means from 384 below the middle to 384 above it
_MARGIN = 10.0  # grey levels that rounding in encoder and decoder can make up, for a quantiser of 1
_MARGIN_PER_QUANTISER = 1 / 16
_LEAST_SHARE = 0.001  # of all blocks
_UNIT_BLOCKS = {
    "Gray": (1, 1),
    "444": (1, 1),
    "422": (1, 2),
    "420": (2, 2),
    "440": (2, 1),
    "411": (1, 4),
    "441": (4, 1),
}
"""Height and width in blocks of what is coded together, by the kind of colour subsampling."""
_LEAST_SHIFT = 15.0  # grey levels
_LEAST_PART = 0.05  # of the image before and after the place
_FROM_EDGE = 0.04  # of the width: an edit begins at an edge
_IN_ITS_ROW = 0.1  # of the shift: how far both parts of the row may be from what they belong to
_ALIKE, _LEAST_ALIKE = 0.3, 0.9  # of the shift; of each of both parts
_LEAST_LEVELS = 6.0


def is_damaged(data: bytes, thumbnail: Pixels) -> bool:
    """Whether the JPEG shows one of the two signs; False where that can't be told. `thumbnail` is grey, uint8[h, w]."""
    try:
        altered, quantiser, divided = _with_divided_quantisers(data)
        height, width, _, subsampling = simplejpeg.decode_jpeg_header(data)
        high, wide = -(-height // _BLOCK_PX), -(-width // _BLOCK_PX)
        shown = simplejpeg.decode_jpeg(altered, "GRAY", min_height=high, min_width=wide, strict=False)
    except (UnusualJpeg, ValueError, struct.error):
        return False
    # Differences from the middle are stored; the decoder rounds them and shows them around 128.
    means = 127.5 + (shown[..., 0].astype(np.float32) - 127.5) * (quantiser / divided)
    beyond = np.abs(means - 127.5) - 127.5
    if float((beyond > _MARGIN + quantiser * _MARGIN_PER_QUANTISER).mean()) > _LEAST_SHARE:
        return True
    return subsampling in _UNIT_BLOCKS and _is_shifted_from_one_place(means, thumbnail, *_UNIT_BLOCKS[subsampling])


def _is_shifted_from_one_place(means: NDArray[np.float32], thumbnail: Pixels, high: int, wide: int) -> bool:
    rows, columns = means.shape[0] // high, means.shape[1] // wide
    if min(rows, columns) < 2:
        return False
    units = means[: rows * high, : columns * wide].reshape(rows, high, columns, wide).mean((1, 3))
    scene = cv2.resize(thumbnail.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    difference = (units - scene).ravel()
    place = _largest_change(difference)
    row, column = divmod(place, columns)
    before, after = float(np.median(difference[:place])), float(np.median(difference[place:]))
    shift = abs(after - before)
    if shift < _LEAST_SHIFT or not _LEAST_PART < place / difference.size < 1 - _LEAST_PART:
        return False
    if not _FROM_EDGE < column / columns < 1 - _FROM_EDGE:
        return False
    if not 0 < row < rows - 1:
        return False
    # The left part changes below this row, the right part with it: a step in the grid of what is coded together.
    grid = difference.reshape(rows, columns)
    parts = [(grid[row, :column], before), (grid[row - 1, column:], before)]
    parts += [(grid[row, column:], after), (grid[row + 1, :column], after)]
    if max(abs(float(np.median(part)) - level) for part, level in parts) > _IN_ITS_ROW * shift:
        return False
    rest = np.concatenate((difference[:place] - before, difference[place:] - after)).reshape(rows, columns)
    alike = np.abs(cv2.blur(rest.astype(np.float32), (5, 5))) < max(_LEAST_LEVELS, _ALIKE * shift)
    return min(float(alike.ravel()[:place].mean()), float(alike.ravel()[place:].mean())) >= _LEAST_ALIKE


def _largest_change(values: NDArray[np.float32]) -> int:
    """The place at which a row of values falls apart into two with means as different as possible."""
    sums, count = np.cumsum(values, dtype=np.float64), np.arange(1, values.size)
    apart = (sums[-1] - sums[:-1]) / count[::-1] - sums[:-1] / count
    return int(np.argmax(apart**2 * count * count[::-1])) + 1


def _with_divided_quantisers(original: bytes) -> tuple[bytearray, int, int]:
    """A copy with each table's quantiser of the blocks' means divided; that of brightness before and after."""
    data, brightness = bytearray(original), (1, 1)
    for segment in segments(original):
        at = segment.content
        while segment.marker == QUANTIZATION and at < segment.end:
            form = ">H" if data[at] >> 4 else ">B"
            (quantiser,) = struct.unpack_from(form, data, at + 1)
            divided = max(1, quantiser // _DIVISOR)
            struct.pack_into(form, data, at + 1, divided)
            if data[at] & 15 == 0:
                brightness = (quantiser, divided)
            at += 1 + _COEFFICIENTS * struct.calcsize(form)
    return data, *brightness
