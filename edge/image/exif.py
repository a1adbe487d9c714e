"""EXIF metadata: the few fields that a record needs.

A JPEG as cameras write it is read in microseconds; whatever is unusual in any way is left to Pillow.
"""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from edge.image.jpeg_segments import APP1, UnusualJpeg, segments

Folder = dict[int, str | int]
"""Tags of one EXIF folder by their number."""

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, _SHORT, _LONG = 2, 3, 4
_INNER, _ORIENTATION = 0x8769, 0x0112
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_DATE_TIME_ORIGINAL, _SUB_SECONDS, _OFFSET_ORIGINAL = 0x9003, 0x9291, 0x9011
_TAGS = frozenset({_ORIENTATION, _MAKE, _MODEL, _DATE_TIME, _DATE_TIME_ORIGINAL, _SUB_SECONDS, _OFFSET_ORIGINAL})
PARSER_ERRORS = (
    *(OSError, ValueError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError, EOFError),
    *(RecursionError, NotImplementedError, MemoryError, Warning, struct.error, zlib.error),
)
"""What Pillow's parsers have been seen to raise on damaged bytes; a warning is one where warnings are errors."""
FLIPS: dict[int, tuple[bool, int | None]] = {
    1: (False, None),
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}
"""How each EXIF orientation is turned upright: whether to transpose first, then OpenCV's flip code or `None`."""


@dataclass(frozen=True, slots=True)
class Exif:
    """The few fields that a record needs, as the camera wrote them; empty when absent."""

    date_time_original: str = ""
    """`YYYY:MM:DD HH:MM:SS`, in the camera's own time."""
    sub_seconds: str = ""
    offset: str = ""
    """Offset of `date_time_original` from UTC as `+HH:MM`, when the camera knows it."""
    camera: str = ""
    """Make and model."""
    orientation: int = 1
    """1..8, EXIF's numbers for the ways to turn an image upright."""


class UnusualExif(ValueError):
    """EXIF that is not written the usual way, so that Pillow has to read it."""


def read_jpeg_exif(data: bytes) -> Exif:
    """EXIF of a JPEG, by the short way where it can be used."""
    try:
        return _exif(*read_folders(data, _TAGS))
    except UnusualExif:
        return read_exif(data)


def read_exif(data: bytes) -> Exif:
    """EXIF of any image. Damaged EXIF counts as absent: it is a witness, and never a reason to refuse a frame."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            tags = image.getexif()
            return _exif(tags, tags.get_ifd(_INNER))
    except PARSER_ERRORS:
        return Exif()


def read_folders(data: bytes, wanted: frozenset[int]) -> tuple[Folder, Folder]:
    """Those of the `wanted` tags that the outer and the inner EXIF folder of a JPEG hold.

    Raises `UnusualExif`, also where XMP may hold an orientation that EXIF lacks.
    """
    try:
        found = [data[one.content : one.end] for one in segments(data) if one.marker == APP1]
    except UnusualJpeg as error:
        raise UnusualExif(str(error)) from error
    blocks = [content[len(_EXIF) :] for content in found if content.startswith(_EXIF)]
    outer: Folder = {}
    inner: Folder = {}
    if len(blocks) > 1:
        raise UnusualExif("EXIF in several segments")
    for block in blocks:
        try:
            order = _ORDERS[block[:4]]
            outer = _read_folder(block, order, struct.unpack_from(order + "I", block, 4)[0], wanted | {_INNER})
            if (place := outer.pop(_INNER, None)) is not None:
                inner = _read_folder(block, order, int(place), wanted)
        except (struct.error, KeyError, ValueError) as error:
            raise UnusualExif("damaged, or of a rare kind") from error
    if _ORIENTATION not in outer and any(content.startswith(_XMP) for content in found):
        raise UnusualExif("XMP may hold the orientation")
    return outer, inner


def _read_folder(block: bytes, order: str, at: int, wanted: frozenset[int]) -> Folder:
    found: Folder = {}
    (entries,) = struct.unpack_from(order + "H", block, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
        if tag not in wanted:
            continue
        if tag in found:
            raise UnusualExif("a tag comes twice")
        if kind == _ASCII:
            start = entry + 8 if count <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
            if start + count > len(block):
                raise UnusualExif("a text ends too early")
            found[tag] = block[start : start + count].decode("latin-1")
        elif kind in (_SHORT, _LONG) and count == 1:
            found[tag] = int(struct.unpack_from(order + ("H" if kind == _SHORT else "I"), block, entry + 8)[0])
        else:
            raise UnusualExif("a rare kind of value")
    return found


def _exif(tags: Mapping[int, object], inner: Mapping[int, object]) -> Exif:
    orientation = _tag(tags, _ORIENTATION)
    return Exif(
        date_time_original=_text(inner, _DATE_TIME_ORIGINAL) or _text(tags, _DATE_TIME),
        sub_seconds=_text(inner, _SUB_SECONDS),
        offset=_text(inner, _OFFSET_ORIGINAL),
        camera=" ".join(filter(None, (_text(tags, _MAKE), _text(tags, _MODEL)))),
        orientation=orientation if isinstance(orientation, int) and orientation in FLIPS else 1,
    )


def _tag(tags: Mapping[int, object], tag: int) -> object:
    """One value; each is parsed only when it is asked for, and a damaged one takes no other with it."""
    try:
        return tags.get(tag)
    except PARSER_ERRORS:
        return None


def _text(tags: Mapping[int, object], tag: int) -> str:
    value = _tag(tags, tag)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.replace("\0", " ").strip() if isinstance(value, str) else ""
