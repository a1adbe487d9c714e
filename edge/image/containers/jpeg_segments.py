"""The one walk over the segments of a JPEG: EXIF, tables, the start of the image data, and where it ends."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

APP0, APP1, APP2, APP15 = 0xE0, 0xE1, 0xE2, 0xEF
COMMENT, QUANTIZATION, START_OF_SCAN = 0xFE, 0xDB, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, coded by Huffman's method
_KNOWN_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4)})
_END = 0xD9
_MAX_SEGMENTS = 10_000  # a camera writes about ten; millions of empty ones would take minutes
_END_AS_NUMBER, _SCAN_AS_NUMBER = 0xD9FF, 0xDAFF
_STEP = 1 << 18  # bytes that are compared at once


class UnusualJpeg(ValueError):
    """Segments that are not written the usual way."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment before the compressed data, as offsets into the file."""

    marker: int
    begin: int
    """Offset of the segment's first byte, its marker."""
    content: int
    """Offset of its content, after marker and length."""
    end: int

    @property
    def is_metadata(self) -> bool:
        """Whether it is an application segment (EXIF, XMP, previews, ...) or a comment."""
        return APP0 <= self.marker <= APP15 or self.marker == COMMENT


def segments(data: bytes) -> Iterator[Segment]:
    """The segments up to the header of the first scan, which is the last one. Raises `UnusualJpeg`."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data):
            break
        lead, marker, size = struct.unpack_from(">BBH", data, at)
        if lead != 0xFF or not 0xC0 <= marker < 0xFF:
            raise UnusualJpeg("no marker where one belongs")
        if marker == _END:
            return
        yield Segment(marker, at, at + 4, at + 2 + size)
        if marker == START_OF_SCAN:
            return
        at += 2 + size
    raise UnusualJpeg("it ends before the image data, or has thousands of segments")


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What the decoder learns of the image before it decodes anything."""

    marker: int
    """The process: 0xC0 for baseline, 0xC2 for progressive, ..."""
    bits: int
    height_px: int
    width_px: int
    factors: tuple[tuple[int, int], ...]
    """Sampling across and down of each component."""
    first_scan: int
    """Number of components in the first scan."""


def frame_header(data: bytes) -> FrameHeader:
    """The frame header, which comes before the first scan. Raises `UnusualJpeg`."""
    found: FrameHeader | None = None
    for segment in segments(data):
        if segment.marker in _FRAMES and found is None:
            content = data[segment.content : segment.end]
            if len(content) < 9 or len(content) != 6 + 3 * content[5]:
                raise UnusualJpeg("a damaged frame header")
            factors = tuple((byte >> 4, byte & 15) for byte in content[7::3])
            bits, height, width = struct.unpack_from(">BHH", content)
            found = FrameHeader(segment.marker, bits, height, width, factors, 0)
        elif segment.marker == START_OF_SCAN and found is not None:
            return replace(found, first_scan=data[segment.content])
    raise UnusualJpeg("no frame header")


def rare_kind(data: bytes) -> str | None:
    """What of an intact frame header is so rare that decoders refuse it, in words; `None` where nothing is."""
    try:
        header = frame_header(data)
    except UnusualJpeg:
        return None
    factors = header.factors
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        return None
    if header.marker not in _USUAL_FRAMES:
        return f"its process has the number {header.marker - min(_FRAMES)}"
    if header.bits != 8:
        return "12 bits for each value" if header.bits == 12 else None
    if factors[0] in _KNOWN_SAMPLINGS and set(factors[1:]) <= {(1, 1)}:
        return None
    return f"chroma sampling {', '.join(f'{across}x{down}' for across, down in factors)}"


def image_begin(data: bytes) -> int:
    """Offset behind the header of the first scan; 2 where the segments are not written the usual way."""
    try:
        return max((segment.end for segment in segments(data)), default=2)
    except UnusualJpeg:
        return 2


def image_end(data: bytes, begin: int) -> int:
    """Offset behind the first end marker after `begin`; cameras append previews that have one too.

    Compressed data holds no end marker.
    """
    for at in range(begin, len(data), _STEP):
        found = [first + 2 * int(ends.argmax()) + 2 for first, ends in _equal(data, at, _END_AS_NUMBER) if ends.any()]
        if found:
            return min(found)
    return len(data)


def count_scans(data: bytes) -> int:
    """Number of scan headers, and of what looks like them."""
    steps = range(0, len(data), _STEP)
    return sum(int(np.count_nonzero(equal)) for at in steps for _, equal in _equal(data, at, _SCAN_AS_NUMBER))


def _equal(data: bytes, at: int, number: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Which pairs of bytes of one step are this number, from its first and from its second byte on.

    Numbers are compared several times faster than text; step by step, so that a large file takes no memory beside it.
    """
    for first in (at, min(at + 1, len(data))):
        yield first, np.frombuffer(data, "<u2", min(_STEP, len(data) - first) // 2, first) == number
