"""Decoding with the proof that a frame is whole: file bytes to pixels, size and EXIF.

Whole means that the bytes decode strictly from the start marker to the end marker. A tolerant decoder would classify a
half-written file as if it were a frame, so none is used here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from typing import Literal

import cv2
import numpy as np
import simplejpeg

from edge.image import jpeg_memory, pixel_formats
from edge.image.bad_frame import BadFrame as BadFrame
from edge.image.containers.jpeg_segments import (
    count_scans,
    frame_header,
    image_begin,
    image_end,
    rare_kind,
)
from edge.image.containers.too_many import TooManyParts
from edge.image.damage import is_damaged
from edge.image.exif import FLIPS, PARSER_ERRORS, Exif, read_exif, read_jpeg_exif
from edge.image.image_count import images_in_jpeg
from edge.image.memory_limit import FILE_BYTES, refuse_costly
from edge.image.resize import Pixels
from edge.image.thumbnail_check import DOUBTFUL_SHARE, SUSPICIOUS_SHARE, compare_with_thumbnail
from edge.vocabulary import FileReason, ImageDoubt

log = logging.getLogger(__name__)

MAX_PIXELS = 200_000_000  # of a JPEG; a small device decodes them in some seconds, and memory sets limits of its own
MAX_SCANS = 200  # a progressive frame has about ten; thousands of them keep a decoder busy for hours
MAX_PIXELS_IN_SCANS = 2_000_000_000  # pixels times scans: ten of 200 MP, or 83 of 24 MP
HEAD_BYTES = 64  # enough to recognise a format
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"})
RAW_SUFFIXES = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff"),
        *(".gpr", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf"),
        *(".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    }
)
"""Data of a camera's sensor as it is; most begin like a TIFF, and hold only a preview as an image."""
_CANON_RAW = b"CR"  # after the header of a TIFF


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A whole frame as pixels."""

    pixels: Pixels
    """uint8[H, W, 3], RGB, upright; smaller than the original when the decoder was allowed to shrink it."""
    width_px: int
    """Width of the original image in pixels, after it was turned upright."""
    height_px: int
    """Height of the original image in pixels, after it was turned upright."""
    exif: Exif
    doubt: ImageDoubt | None = None
    """A reason to doubt that the image is as the camera took it."""
    pictures: int = 1
    """Number of images in the file; the first is decoded."""


def digest(data: bytes | memoryview) -> str:
    """Identity of a file's content: BLAKE2b, 160 bits, in hexadecimal."""
    return blake2b(data, digest_size=20).hexdigest()


def decode(
    data: bytes, min_side_px: int | None = None, name: str = "", reserve: Callable[[int], object] = int
) -> DecodedFrame:
    """Prove that `data` is a whole image and decode it.

    `min_side_px` lets the JPEG decoder shrink the image while it decodes, as long as the shorter side keeps at least
    that many pixels; `None` decodes every pixel. `name` is only used to say what a file that is no image may be.
    `reserve` is called once before decoding, with the bytes that decoder and result will take; it may wait.

    Raises `BadFrame` for anything that is not a whole image of a supported format, and for what is too costly.
    """
    format_ = recognise(data, name)
    try:
        if format_ == "JPEG":
            return _decode_jpeg(data, min_side_px, reserve)
        return _decode_other(data, format_, min_side_px, reserve)
    except MemoryError as error:
        raise BadFrame(FileReason.TOO_LARGE, "there is not enough memory to decode it") from error


def recognise(data: bytes, name: str = "") -> Literal["JPEG", "PNG", "TIFF", "WebP", "BMP"]:
    """The image format, told by the first bytes. Raises `BadFrame` (empty, not_an_image, unsupported_format)."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    suffix = PurePath(name).suffix.lower()
    if suffix in RAW_SUFFIXES or (data[:4] == b"II*\0" and data[8:10] == _CANON_RAW):
        raise _raw(suffix)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM":
        return "BMP"
    if suffix and suffix not in IMAGE_SUFFIXES:
        raise BadFrame(FileReason.UNSUPPORTED_FORMAT, f"{suffix} is none of JPEG, PNG, TIFF, WebP, BMP")
    if not data:
        raise BadFrame(FileReason.EMPTY, "the file has no bytes")
    raise BadFrame(FileReason.NOT_AN_IMAGE, "its first bytes are those of no JPEG, PNG, TIFF, WebP or BMP")


def _raw(suffix: str) -> BadFrame:
    what = suffix if suffix in RAW_SUFFIXES else "it"
    return BadFrame(FileReason.UNSUPPORTED_FORMAT, f"{what} is raw data of a camera's sensor; a JPEG can be classified")


def _decode_jpeg(data: bytes, min_side_px: int | None, reserve: Callable[[int], object]) -> DecodedFrame:
    least = min_side_px or 0
    try:
        height, width = _jpeg_size(data)
        _refuse_slow(data, width * height)
        _take(jpeg_memory.needed_bytes(data, width, height, min_side_px), data, (width, height, "JPEG"), reserve)
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, strict=True)
    except ValueError as error:
        cut = "premature" in str(error).lower() or data.rfind(b"\xff\xd9") < 0
        if not cut and (kind := rare_kind(data)) is not None:
            detail = f"a kind of JPEG that the decoder does not know: {kind}"
            raise BadFrame(FileReason.UNSUPPORTED_FORMAT, detail) from error
        raise BadFrame(FileReason.TRUNCATED if cut else FileReason.CORRUPT, _one_line(error)) from error
    compared = compare_with_thumbnail(data, pixels)
    unlike = 0.0 if compared is None else compared.share
    if compared is not None and unlike >= SUSPICIOUS_SHARE and is_damaged(data, compared.thumbnail):
        raise BadFrame(FileReason.CORRUPT, "its brightness is shifted from one place to the end: its data is damaged")
    doubt = ImageDoubt.THUMBNAIL_DIFFERS if unlike >= DOUBTFUL_SHARE else None
    return _upright(pixels, width, height, _exif(read_jpeg_exif, data), doubt, images_in_jpeg(data))


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width. Raises `ValueError`."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except KeyError:  # it has no name for the chroma sampling 4:4:1, and decodes it all the same
        header = frame_header(data)
        height, width = header.height_px, header.width_px
    return height, width


def _exif(read: Callable[[bytes], Exif], data: bytes) -> Exif:
    """EXIF is a witness, and never a reason to refuse a frame, whatever its reader stumbles over."""
    try:
        return read(data)
    except Exception as error:
        log.debug("its EXIF cannot be read", exc_info=error)
        return Exif()


def _decode_other(data: bytes, format_: str, min_side_px: int | None, reserve: Callable[[int], object]) -> DecodedFrame:
    try:
        layout = pixel_formats.layout(data, format_)
        what = (layout.width_px, layout.height_px, format_)
        _take(pixel_formats.needed_bytes(layout, min_side_px), data, what, reserve)
        pixels, width, height = pixel_formats.read_pixels(layout, format_, min_side_px)
    except TooManyParts as error:
        raise BadFrame(FileReason.TOO_LARGE, f"{format_}: {error}") from error
    except (cv2.error, *PARSER_ERRORS) as error:
        cut = "truncated" in str(error).lower()
        raise BadFrame(FileReason.TRUNCATED if cut else FileReason.CORRUPT, f"{format_}: {_one_line(error)}") from error
    exif = _exif(read_exif, data)
    if format_ == "TIFF":
        exif = replace(exif, orientation=1)  # its decoder turns it upright by itself
    return _upright(pixels, width, height, exif, None, layout.pictures)


def _refuse_slow(data: bytes, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        limit = f"the limit is {MAX_PIXELS // 1_000_000} MP"
        raise BadFrame(FileReason.TOO_LARGE, f"it declares {pixels / 1e6:,.0f} MP, {limit}")
    most = min(MAX_SCANS, MAX_PIXELS_IN_SCANS // max(pixels, 1))
    # A film or an image that is appended holds the same bytes by chance, so these are left out before it is refused.
    if count_scans(data) > most and (scans := count_scans(data[: image_end(data, image_begin(data))])) > most:
        detail = f"its {scans:,} scans of {pixels / 1e6:.1f} MP would keep a decoder busy for too long"
        raise BadFrame(FileReason.TOO_LARGE, detail)


def _take(needed: int, data: bytes, what: tuple[int, int, str], reserve: Callable[[int], object]) -> None:
    """Refuse or reserve the memory; what the file takes beyond its own part is added."""
    width, height, format_ = what
    refuse_costly(needed + max(0, len(data) - FILE_BYTES), f"a {format_} of {width} x {height} pixels")
    reserve(needed)


def _upright(
    pixels: Pixels, width: int, height: int, exif: Exif, doubt: ImageDoubt | None, pictures: int
) -> DecodedFrame:
    transpose, flip = FLIPS[exif.orientation]
    turned = cv2.transpose(pixels) if transpose else pixels
    if flip is not None:
        turned = cv2.flip(turned, flip)
    if transpose:
        width, height = height, width
    return DecodedFrame(np.asarray(turned, np.uint8), width, height, exif, doubt, pictures)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
