"""Decoding of PNG, TIFF, BMP and WebP, which hold every pixel in memory: their cost comes first, then the pixels.

Pillow is the one decoder, and strict. Its pixels are taken over a few rows at a time and shrunk at once.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge.image.bad_frame import BadFrame
from edge.image.containers.chunks import check_sum, png_chunks, webp_chunks
from edge.image.containers.tiff_directory import (
    MAX_PARTS,
    ORIENTATION,
    PARTS,
    SIZE,
    Directory,
    all_value_bytes,
    directories,
)
from edge.image.resize import Pixels, resize
from edge.vocabulary import FileReason

if TYPE_CHECKING:
    from PIL import Image

_ROWS = 64  # taken over at once, or a multiple; a multiple itself of every factor by which pixels are shrunk
_LEAST_PIXELS = 65_536  # taken over at once: narrow rows one by one would take minutes
_MAX_FACTOR = 8
_MAX_PIXELS = 80_000_000  # Pillow warns of more; they would take half a minute on a small device
_MAX_RUN_LENGTH_BYTES = 2_000_000  # of a BMP: Pillow reads its runs one by one
_PART_BYTES = 500  # that Pillow needs for one part
_MODES = frozenset({"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16B", "I;16L"})
"""Modes of Pillow that have a way to RGB; those with an I are grey of 16 bits."""
_PNG_IMAGE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_WEBP_SIDE = 0x3FFF
_BITS, _COMPRESSION, _SAMPLES = 258, 259, 277
_ROWS_PER_STRIP, _TILE_SIZE = 278, (322, 323)
_DNG_VERSION = 50706
_UNPACKED, _TIFF_JPEG = 1, (6, 7)
_KNOWN_COMPRESSIONS = frozenset({_UNPACKED, 2, 3, 4, 5, *_TIFF_JPEG, 8, 32773, 32946})
"""None, CCITT, LZW, JPEG, Deflate, PackBits: those of cameras and scanners."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the headers of a file say."""

    width_px: int
    height_px: int
    decoder_bytes: int
    """What its decoder needs beside the result."""
    data: bytes
    """What the decoder gets: the file, or the part of it that is the image."""
    pictures: int = 1


def layout(data: bytes, format_: str) -> Layout:
    """Read the headers, and nothing that is only declared. Raises `BadFrame`, `ValueError`, `LookupError`."""
    found = {"PNG": _png, "TIFF": _tiff, "WebP": _webp, "BMP": _bmp}[format_](data)
    if found.width_px < 1 or found.height_px < 1:
        raise ValueError("it declares no pixels")
    if found.width_px * found.height_px > _MAX_PIXELS:
        size, limit = f"{found.width_px} x {found.height_px}", _MAX_PIXELS // 1_000_000
        raise BadFrame(FileReason.TOO_LARGE, f"a {format_} of {size} pixels, the limit is {limit} MP")
    return found


def needed_bytes(found: Layout, min_side_px: int | None) -> int:
    """Memory for decoder, rows and result, turned upright."""
    width, height = found.width_px, found.height_px
    taken_over = max(_rows_at_once(width, height) * width, _rows_at_once(height, width) * height)
    return found.decoder_bytes + 12 * taken_over + 6 * width * height // _factor(found, min_side_px) ** 2


def read_pixels(found: Layout, format_: str, min_side_px: int | None) -> tuple[Pixels, int, int]:
    """uint8[H, W, 3], halved as long as the shorter side keeps `min_side_px`; width and height of the original.

    Raises `BadFrame` and what the decoders raise. A TIFF comes upright.
    """
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False  # other packages in a process switch it on, and half images pass
    factor = _factor(found, min_side_px)
    with Image.open(io.BytesIO(found.data), formats=[format_]) as image:
        if sorted(image.size) != sorted((found.width_px, found.height_px)):
            raise ValueError("its headers contradict each other")
        if image.mode not in _MODES:
            raise BadFrame(FileReason.UNSUPPORTED_FORMAT, f"a {format_} with values of the kind {image.mode}")
        if format_ == "WebP":  # its decoder's own pixels: Pillow's copy of them would be the fourth
            (data, *_) = image._get_next()  # type: ignore[attr-defined]
            return _shrunk(partial(_of_webp, image, data=data), *image.size, factor), *image.size
        image.load()
        return _shrunk(partial(_rgb, image), *image.size, factor), *image.size


def _factor(found: Layout, min_side_px: int | None) -> int:
    factor = 1
    while min_side_px and factor < _MAX_FACTOR and min(found.width_px, found.height_px) >= 2 * factor * min_side_px:
        factor *= 2
    return factor


def _shrunk(rows: Callable[[int, int], Pixels], width: int, height: int, factor: int) -> Pixels:
    """What the JPEG decoder does while it decodes; `rows` gives those from one number up to another."""
    result = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    step = _rows_at_once(width, height)
    for top in range(0, height, step):
        part = rows(top, min(top + step, height))
        target = result[top // factor : -(-(top + step) // factor)]
        target[:] = part if factor == 1 else resize(part, *target.shape[:2])
    return result


def _rows_at_once(width: int, height: int) -> int:
    return min(height, _ROWS * max(1, _LEAST_PIXELS // (_ROWS * width)))


def _rgb(image: "Image.Image", top: int, bottom: int) -> Pixels:
    part = image.crop((0, top, image.width, bottom))
    if image.mode.startswith("I"):
        grey = (np.asarray(part) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(part.convert("RGB"))


def _of_webp(image: "Image.Image", top: int, bottom: int, data: bytes) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width, 4)[top:bottom, :, :3]


def _png(data: bytes) -> Layout:
    """Texts and profiles are left out: a few bytes of them can unpack to many megabytes."""
    view = memoryview(data)
    parts, pictures, header = [view[:8]], 1, b""
    for chunk in png_chunks(data):
        if chunk.kind in _PNG_IMAGE:
            parts.append(view[chunk.begin : chunk.end + 4])
        else:
            check_sum(data, chunk)
        if chunk.kind == b"IHDR":
            header = data[chunk.content : chunk.end]
        elif chunk.kind == b"acTL":  # how many frames an animation has
            pictures = max(1, int.from_bytes(data[chunk.content : chunk.content + 4], "big"))
    if len(header) != 13:
        raise ValueError("its header is damaged")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits, colour = header[8], header[9]
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row_bytes = -(-width * bits * samples // 8)
    held = 1 if samples == 1 and bits <= 8 else 4
    return Layout(width, height, held * width * height + 3 * row_bytes + len(data), b"".join(parts), pictures)


def _bmp(data: bytes) -> Layout:
    size = int.from_bytes(data[14:18], "little")
    sides = (data[18:20], data[20:22]) if size == 12 else (data[18:22], data[22:26])
    width, height = (abs(int.from_bytes(side, "little", signed=size != 12)) for side in sides)
    runs = size != 12 and data[30:31] in (b"\1", b"\2")
    if runs and len(data) > _MAX_RUN_LENGTH_BYTES:
        raise BadFrame(FileReason.TOO_LARGE, f"run-length coded and of more than {_MAX_RUN_LENGTH_BYTES:,} bytes")
    return Layout(width, height, (7 if runs else 4) * width * height + 12 * width, data)


def _webp(data: bytes) -> Layout:
    chunks = webp_chunks(data)
    first = next(chunks, None)
    kind, content = (b"", b"") if first is None else (first.kind, data[first.content : first.end][:10])
    frames = sum(chunk.kind == b"ANMF" for chunk in chunks)
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        width, height = 1 + (bits & _WEBP_SIDE), 1 + (bits >> 14 & _WEBP_SIDE)
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(content[at : at + 2], "little") & _WEBP_SIDE for at in (6, 8))
    else:
        raise ValueError("it does not begin with an image")
    # Two canvases and a copy of one, each with four bytes for a pixel.
    return Layout(width, height, 12 * width * height + 2 * len(data), data, max(1, frames))


def _tiff(data: bytes) -> Layout:
    first, *others = directories(data)
    if _DNG_VERSION in first.tags:
        detail = "it is raw data of a camera's sensor; a JPEG can be classified"
        raise BadFrame(FileReason.UNSUPPORTED_FORMAT, detail)
    compression = first.number(_COMPRESSION, _UNPACKED)
    bits = max(first.numbers(_BITS), default=1)
    if compression not in _KNOWN_COMPRESSIONS or bits > 16:
        detail = f"a TIFF with {bits} bits for each value and compression {compression}"
        raise BadFrame(FileReason.UNSUPPORTED_FORMAT, detail)
    width, height = (first.number(tag, 0) for tag in SIZE)
    samples = max(first.number(_SAMPLES, 1), len(first.numbers(_BITS)))
    parts = max((first.tags[tag].count for tag, _ in PARTS if tag in first.tags), default=0)
    if any(page.value_bytes > len(data) or not all(tag in page.tags for tag in SIZE) for page in (first, *others)):
        raise ValueError("truncated before the values that it names")
    if parts > MAX_PARTS:
        raise BadFrame(FileReason.TOO_LARGE, f"a TIFF in {parts:,} parts, the limit is {MAX_PARTS:,}")
    held = (1 if samples == 1 and bits <= 8 else 4) * width * height
    part = 0 if compression == _UNPACKED else _part_pixels(first, width, height) * max(4, -(-samples * bits // 8))
    if compression in _TIFF_JPEG:
        part *= 3  # it may be progressive
    held *= 1 if first.number(ORIENTATION, 1) == 1 else 2  # it is turned upright at once
    row = -(-width * samples * bits // 8)
    _check_parts(first, height * row if compression == _UNPACKED else 0)
    needed = held + part + 3 * row + parts * _PART_BYTES + 2 * all_value_bytes(first)
    return Layout(width, height, needed, data, 1 + len(others))


def _check_parts(first: Directory, bytes_: int) -> None:
    """Raises `ValueError` where a strip or tile is not in the file, or where together they hold too few bytes."""
    for places, sizes in PARTS:
        ends = [
            sum(one) for one in zip(first.numbers(places, MAX_PARTS), first.numbers(sizes, MAX_PARTS), strict=False)
        ]
        if max(ends, default=0) > len(first.data):
            raise ValueError("truncated before the end of its strips or tiles")
    counted = sum(sum(first.numbers(sizes, MAX_PARTS)) for _, sizes in PARTS)
    if 0 < counted < bytes_:
        raise ValueError("truncated strips or tiles")


def _part_pixels(first: Directory, width: int, height: int) -> int:
    """Pixels of one strip or tile, as large as it is unpacked."""
    if _TILE_SIZE[0] in first.tags:
        return first.number(_TILE_SIZE[0], 0) * first.number(_TILE_SIZE[1], 0)
    return width * min(height, first.number(_ROWS_PER_STRIP, height))
