"""Identity of the image in a file, whatever metadata is written beside it.

Two files with the same image data are one frame, though a clock, a keyword or a thumbnail was set right in one of them.
What is hashed is chosen so that it costs about 1 % of a frame (docs/reliability.md).
"""

import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b

from edge.image.containers.chunks import Chunk, png_chunks, webp_chunks
from edge.image.containers.jpeg_segments import UnusualJpeg, image_end, segments
from edge.image.containers.tiff_directory import MAX_PARTS, ORIENTATION, PARTS, SIZE, first_directory
from edge.image.exif import PARSER_ERRORS
from edge.image.resize import Pixels

NO_DIGEST = ""
"""Image digest of a file whose format has none."""
_SAMPLE, _SAMPLE_EVERY = 4096, 65536
_PNG_IMAGE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"fcTL", b"fdAT", b"IEND"})
_WEBP_IMAGE = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
_LAST_NOT_TURNED = 4  # of the orientations
_BLOCK = 8


def image_digest(data: bytes, format_: str) -> str:
    """BLAKE2b, 160 bits, of the image data of a whole file; `NO_DIGEST` where its format is not known so well.

    JPEG: the tables and headers without application segments and comments; of the compressed data its length, its
    CRC-32 and samples of it. PNG, WebP: the chunks of the image. TIFF: strips or tiles.
    """
    try:
        if format_ == "JPEG":
            parts = _of_jpeg(data)
        elif format_ == "PNG":
            parts = _chunks(data, png_chunks(data), _PNG_IMAGE)
        elif format_ == "WebP":
            parts = _chunks(data, webp_chunks(data), _WEBP_IMAGE)
        elif format_ == "TIFF":
            parts = _of_tiff(data)
        else:
            return NO_DIGEST
        hashed = blake2b(digest_size=20)
        for part in parts:
            hashed.update(part)
    except (UnusualJpeg, *PARSER_ERRORS):
        return NO_DIGEST
    return hashed.hexdigest()


def has_detail(pixels: Pixels) -> bool:
    """Whether any block of uint8[H, W, 3] is more than one colour: without detail, different exposures are equal."""
    high, wide = (side // _BLOCK * _BLOCK for side in pixels.shape[:2])
    if not high or not wide:
        return False
    rows = pixels[:high, :wide].reshape(high // _BLOCK, _BLOCK, wide // _BLOCK, _BLOCK, -1)
    return any((row != row[:1, :, :1]).any() for row in rows)  # of most frames the first row has some


def _of_jpeg(data: bytes) -> Iterator[bytes | memoryview]:
    view = memoryview(data)
    begin = 0
    for segment in segments(data):
        if not segment.is_metadata:
            yield view[segment.begin : segment.end]
        begin = segment.end
    compressed = view[begin : image_end(data, begin)]
    yield struct.pack(">QI", len(compressed), zlib.crc32(compressed))
    for place in range(0, len(compressed), _SAMPLE_EVERY):
        yield compressed[place : place + _SAMPLE]


def _chunks(data: bytes, chunks: Iterator[Chunk], wanted: frozenset[bytes]) -> Iterator[memoryview]:
    """The wanted chunks, without what comes after the image."""
    view = memoryview(data)
    found = False
    for chunk in chunks:
        if chunk.kind in wanted:
            found = True
            yield view[chunk.begin : chunk.end]
    if not found:
        raise ValueError("no chunk of an image")


def _of_tiff(data: bytes) -> Iterator[bytes | memoryview]:
    view = memoryview(data)
    first = first_directory(data)
    width, height = (first.number(tag, 0) for tag in SIZE)
    turned = first.number(ORIENTATION, 1) > _LAST_NOT_TURNED
    yield struct.pack(">II", *((height, width) if turned else (width, height)))
    parts = [
        view[place : place + size]
        for places, sizes in PARTS
        for place, size in zip(first.numbers(places, MAX_PARTS), first.numbers(sizes, MAX_PARTS), strict=True)
    ]
    if not parts:
        raise ValueError("neither strips nor tiles")
    yield from parts
