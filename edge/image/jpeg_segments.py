"""The one walk over the segments of a JPEG: EXIF, tables, the start of the image data, and where it ends."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

APP0, APP1, APP2, APP15 = 0xE0, 0xE1, 0xE2, 0xEF
COMMENT, QUANTIZATION, START_OF_SCAN = 0xFE, 0xDB, 0xDA
_END = 0xD9
_END_AS_NUMBER = 0xD9FF


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
    while at + 4 <= len(data):
        lead, marker, size = struct.unpack_from(">BBH", data, at)
        if lead != 0xFF or not 0xC0 <= marker < 0xFF:
            raise UnusualJpeg("no marker where one belongs")
        if marker == _END:
            return
        yield Segment(marker, at, at + 4, at + 2 + size)
        if marker == START_OF_SCAN:
            return
        at += 2 + size
    raise UnusualJpeg("it ends before the image data")


def image_end(data: bytes, begin: int) -> int:
    """Offset behind the first end marker after `begin`; cameras append previews that have one too.

    Compressed data holds no end marker. Pairs of bytes as numbers are compared several times faster than as text.
    """
    found = [len(data)]
    for first in (begin, begin + 1):
        pairs = np.frombuffer(data, "<u2", max(len(data) - first, 0) // 2, min(first, len(data)))
        ends = pairs == _END_AS_NUMBER
        place = int(ends.argmax()) if ends.size else 0
        if ends.size and ends[place]:
            found.append(first + 2 * place + 2)
    return min(found)
