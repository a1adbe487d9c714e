"""A file's bytes: their digest, the proof that the frame is whole, its pixels and its EXIF.

Whole means that the bytes decode strictly from the start marker to the end marker. A decoder that tolerates half
a frame would score it as if it were one, so the tolerant ones are not used here.
"""

import io
import struct
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from threading import Lock
from typing import Literal

import cv2
import numpy as np
import simplejpeg

from edge.image.exif import UnusualError, read_folders
from edge.image.resize import Pixels, resize
from edge.image.thumbnail_check import contradicts

Reason = Literal[
    "truncated", "corrupt", "empty", "too_large", "not_an_image", "unsupported_format", "permission", "crashed_decoder"
]

MAX_PIXELS = 80_000_000  # more than any camera trap writes; a small file can declare billions and fill the memory
MAX_SCANS = 200  # a progressive frame has about ten; thousands of them keep a decoder busy for hours
MAX_BYTES = 250_000_000  # an uncompressed frame of that size; a film is larger
HEAD_BYTES = 64  # enough to recognise a format
_ENORMOUS_PIXELS = 24_000_000
_enormous = Lock()
# What Pillow's parsers are seen to raise on damaged bytes; a warning is one where warnings are errors.
_PARSER_ERRORS = (OSError, ValueError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError,
                  RecursionError, NotImplementedError, MemoryError, Warning, struct.error, zlib.error)  # fmt: skip
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"})
_TAG_ORIENTATION, _TAG_EXIF_FOLDER = 0x0112, 0x8769
_TAG_MAKE, _TAG_MODEL, _TAG_DATE_TIME = 0x010F, 0x0110, 0x0132
_TAG_DATE_TIME_ORIGINAL, _TAG_SUB_SECONDS, _TAG_OFFSET_ORIGINAL = 0x9003, 0x9291, 0x9011
_TAGS = frozenset({_TAG_ORIENTATION, _TAG_MAKE, _TAG_MODEL, _TAG_DATE_TIME, _TAG_DATE_TIME_ORIGINAL, _TAG_SUB_SECONDS,
                   _TAG_OFFSET_ORIGINAL})  # fmt: skip


class BadFrame(Exception):
    """A file that cannot be scored, with one of the closed reasons and a line for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Exif:
    """The few fields that a record needs, as the camera wrote them; empty when absent."""

    date_time_original: str = ""
    """`YYYY:MM:DD HH:MM:SS`, in the camera's own time."""
    sub_seconds: str = ""
    offset: str = ""
    """`+HH:MM` of `date_time_original`, when the camera knows it."""
    camera: str = ""
    orientation: int = 1
    """1..8, as EXIF counts the ways to turn a picture upright."""


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A whole frame, decoded."""

    pixels: Pixels
    """uint8[H, W, 3], RGB, upright; smaller than the original when a scale was asked for."""
    width_px: int
    """Of the original, upright."""
    height_px: int
    exif: Exif


def digest(data: bytes | memoryview) -> str:
    """Identity of a file's content: BLAKE2b, 160 bits, in hexadecimal."""
    return blake2b(data, digest_size=20).hexdigest()


def decode(data: bytes, min_side_px: int | None = None, name: str = "") -> DecodedFrame:
    """Prove that `data` is a whole image and decode it.

    `min_side_px` lets the JPEG decoder shrink the frame while it decodes, as long as the shorter side keeps at least
    that many pixels; `None` decodes every pixel. `name` helps only to say what a file is that is no image.

    Raises `BadFrame` for anything that is not a whole image of a supported format.
    """
    format_ = recognise(data, name)
    try:
        if format_ == "JPEG":
            return _decode_jpeg(data, min_side_px)
        return _decode_other(data, format_, min_side_px)
    except MemoryError as error:
        raise BadFrame("too_large", "there is not enough memory to decode it") from error


def recognise(data: bytes, name: str = "") -> Literal["JPEG", "PNG", "TIFF", "WebP", "BMP"]:
    """The image format by the first bytes. Raises `BadFrame` (empty, not_an_image, unsupported_format)."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM":
        return "BMP"
    suffix = PurePath(name).suffix.lower()
    if suffix and suffix not in IMAGE_SUFFIXES:
        raise BadFrame("unsupported_format", f"{suffix} is none of JPEG, PNG, TIFF, WebP, BMP")
    if not data:
        raise BadFrame("empty", "the file has no bytes")
    raise BadFrame("not_an_image", "its first bytes are those of no JPEG, PNG, TIFF, WebP or BMP")


def fit(pixels: Pixels, height_px: int, width_px: int, mode: str) -> Pixels:
    """Bring uint8[H, W, 3] to the model's input size, the way that its card says.

    squash: the whole picture, its proportions changed. letterbox: the whole picture, proportions kept, grey bars.
    crop: the largest centred part of the input's proportions.
    """
    height, width = pixels.shape[:2]
    if mode == "squash":
        return resize(pixels, height_px, width_px)
    scales = (height_px / height, width_px / width)
    if mode == "crop":
        scale = max(scales)
        high, wide = min(height, round(height_px / scale)), min(width, round(width_px / scale))
        top, left = (height - high) // 2, (width - wide) // 2
        return resize(pixels[top : top + high, left : left + wide], height_px, width_px)
    if mode == "letterbox":
        scale = min(scales)
        high, wide = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (height_px - high) // 2, (width_px - wide) // 2
        canvas = np.full((height_px, width_px, 3), 127, np.uint8)  # 127 is zero after normalisation
        canvas[top : top + high, left : left + wide] = resize(pixels, high, wide)
        return canvas
    raise ValueError(f"fit mode is {mode!r}, expected squash, letterbox or crop")


def _decode_jpeg(data: bytes, min_side_px: int | None) -> DecodedFrame:
    least = min_side_px or 0
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _refuse_bomb(width, height)
        if _scans(data) > MAX_SCANS:
            raise BadFrame("corrupt", f"it has more than {MAX_SCANS} scans, made to keep a decoder busy")
        with _turn_for(width * height):
            pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, strict=True)
    except ValueError as error:
        cut = "premature" in str(error).lower() or data.rfind(b"\xff\xd9") < 0
        raise BadFrame("truncated" if cut else "corrupt", _one_line(error)) from error
    if contradicts(data, pixels):
        raise BadFrame("corrupt", "a part of the picture is not the one in its own thumbnail: its data is damaged")
    return _upright(pixels, width, height, _jpeg_exif(data))


def _scans(data: bytes) -> int:
    """How many scan headers there are; pairs of bytes as numbers are counted ten times quicker than as text."""
    pairs = (np.frombuffer(data, "<u2", (len(data) - first) // 2, first) for first in (0, 1))
    return sum(int(np.count_nonzero(numbers == 0xDAFF)) for numbers in pairs)


def _decode_other(data: bytes, format_: str, min_side_px: int | None) -> DecodedFrame:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            _refuse_bomb(width, height)
            with _turn_for(width * height):
                # OpenCV gives what there is of a broken file; Pillow proves first that it is whole.
                image.load()
                decoded = cv2.imdecode(
                    np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
                )
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadFrame("too_large", _one_line(error)) from error
    except (UnidentifiedImageError, cv2.error, *_PARSER_ERRORS) as error:
        cut = "truncated" in str(error).lower()
        raise BadFrame("truncated" if cut else "corrupt", f"{format_}: {_one_line(error)}") from error
    if decoded is None or decoded.shape[:2] != (height, width):
        raise BadFrame("corrupt", f"the {format_} data is damaged")
    exif = _read_exif(data)
    if format_ == "TIFF":
        exif = replace(exif, orientation=1)  # its decoder turns it upright by itself
    return _upright(_shrunk(np.asarray(decoded, np.uint8), min_side_px), width, height, exif)


def _shrunk(pixels: Pixels, min_side_px: int | None) -> Pixels:
    """What the JPEG decoder does while it decodes: halved as long as the shorter side keeps `min_side_px`."""
    factor = 1
    while min_side_px and factor < 8 and min(pixels.shape[:2]) >= 2 * factor * min_side_px:
        factor *= 2
    return pixels if factor == 1 else resize(pixels, -(-pixels.shape[0] // factor), -(-pixels.shape[1] // factor))


def _turn_for(pixels: int) -> AbstractContextManager[object]:
    """Enormous pictures are decoded one at a time: each needs hundreds of megabytes for a moment."""
    return _enormous if pixels > _ENORMOUS_PIXELS else nullcontext()


def _refuse_bomb(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadFrame("too_large", f"it declares {width} x {height} pixels, the limit is {MAX_PIXELS // 1_000_000} MP")


# How EXIF's eight orientations come upright: (transpose first, then flip code of OpenCV or None).
_TURNS: dict[int, tuple[bool, int | None]] = {
    1: (False, None),
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}


def _upright(pixels: Pixels, width: int, height: int, exif: Exif) -> DecodedFrame:
    transpose, flip = _TURNS[exif.orientation]
    turned = cv2.transpose(pixels) if transpose else pixels
    if flip is not None:
        turned = cv2.flip(turned, flip)
    if transpose:
        width, height = height, width
    return DecodedFrame(np.asarray(turned, np.uint8), width, height, exif)


def _jpeg_exif(data: bytes) -> Exif:
    try:
        return _exif(*read_folders(data, _TAGS))
    except UnusualError:
        return _read_exif(data)


def _read_exif(data: bytes) -> Exif:
    """EXIF is a witness, not part of the picture: damaged EXIF counts as absent and never refuses a frame."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            tags = image.getexif()
            return _exif(tags, tags.get_ifd(_TAG_EXIF_FOLDER))
    except _PARSER_ERRORS:
        return Exif()


def _exif(tags: Mapping[int, object], inner: Mapping[int, object]) -> Exif:
    orientation = _tag(tags, _TAG_ORIENTATION)
    return Exif(
        date_time_original=_text(inner, _TAG_DATE_TIME_ORIGINAL) or _text(tags, _TAG_DATE_TIME),
        sub_seconds=_text(inner, _TAG_SUB_SECONDS),
        offset=_text(inner, _TAG_OFFSET_ORIGINAL),
        camera=" ".join(filter(None, (_text(tags, _TAG_MAKE), _text(tags, _TAG_MODEL)))),
        orientation=orientation if isinstance(orientation, int) and orientation in _TURNS else 1,
    )


def _tag(tags: Mapping[int, object], tag: int) -> object:
    """One value; each is parsed only when it is asked for, and a damaged one takes no other with it."""
    try:
        return tags.get(tag)
    except _PARSER_ERRORS:
        return None


def _text(tags: Mapping[int, object], tag: int) -> str:
    value = _tag(tags, tag)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
