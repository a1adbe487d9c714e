"""The one walk over the segments of a JPEG: EXIF, tables, the start of the image data, and where it ends."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

APP0, APP1, APP2, APP15 = 0xE0, 0xE1, 0xE2, 0xEF
COMMENT, QUANTIZATION, START_OF_SCAN = 0xFE, 0xDB, 0xDA
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_USUAL_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, coded by Huffman's method
_KNOWN_SAMPLINGS = frozenset({(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4)})
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


def rare_kind(data: bytes) -> str | None:
    """What of an intact frame header is so rare that decoders refuse it, in words; `None` where nothing is."""
    try:
        header = next((one for one in segments(data) if one.marker in _FRAMES), None)
    except UnusualJpeg:
        return None
    content = b"" if header is None else data[header.content : header.end]
    if header is None or len(content) < 9 or len(content) != 6 + 3 * content[5]:
        return None
    factors = [(byte >> 4, byte & 15) for byte in content[7::3]]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        return None
    if header.marker not in _USUAL_FRAMES:
        return f"its process has the number {header.marker - min(_FRAMES)}"
    if content[0] != 8:
        return "12 bits for each value" if content[0] == 12 else None
    if factors[0] in _KNOWN_SAMPLINGS and set(factors[1:]) <= {(1, 1)}:
        return None
    return f"chroma sampling {', '.join(f'{across}x{down}' for across, down in factors)}"


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
