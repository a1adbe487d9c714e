"""EXIF metadata: the few fields that a record needs.

A JPEG as cameras write it is read in microseconds; whatever is unusual in any way is left to Pillow.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.image.containers.jpeg_segments import APP1, UnusualJpeg, segments
from edge.image.exif_block import EXIF, MAX_BYTES, XMP, exif_block

if TYPE_CHECKING:
    from PIL import Image

Folder = dict[int, str | int]
"""Tags of one EXIF folder by their number."""

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, _SHORT, _LONG = 2, 3, 4
_INNER, _GPS, _ORIENTATION, _MAKE, _MODEL = 0x8769, 0x8825, 0x0112, 0x010F, 0x0110
_ORIGINAL, _DIGITIZED, _CHANGED = (0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010)
"""A time, its fraction of a second and its offset from UTC: when the frame was taken, digitised, last changed."""
_GPS_TIME, _GPS_DATE = 7, 29
_LONGEST_TEXT = 256
_SOFTWARE = (0x0131, 0x000B)
_TAGS = frozenset({_GPS, _ORIENTATION, _MAKE, _MODEL, *_ORIGINAL, *_DIGITIZED, *_CHANGED, *_SOFTWARE})
_EDITORS = re.compile(
    r"adobe|photo|lightroom|gimp|picasa|google|microsoft|windows|paint|acdsee|irfanview|xnview|faststone|digikam"
    r"|darktable|rawtherapee|capture one|affinity|pixelmator|magick|exiftool|exiv2|snapseed|aperture|luminar|corel"
    r"|shotwell|canva|edit|viewer|resiz|convert",
    re.IGNORECASE,
)
"""Programs that change images; a camera's own software is named by its version."""
_XMP_EDIT = re.compile(rb"xmp:ModifyDate|xmp:CreatorTool|xmpMM:History|xmp:MetadataDate|photoshop:")
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
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
    """When the frame was taken, in the camera's own time; `YYYY:MM:DD HH:MM:SS` in the usual form."""
    sub_seconds: str = ""
    offset: str = ""
    """Offset of `date_time_original` from UTC as `+HH:MM`, when the camera knows it."""
    camera: str = ""
    """Make and model."""
    orientation: int = 1
    """1..8, EXIF's numbers for the ways to turn an image upright."""
    digitized: tuple[str, str, str] = ("", "", "")
    """When the image was digitised: time, fraction of a second, offset. Cameras write the time of capture."""
    changed: tuple[str, str, str] = ("", "", "")
    """The same of the tag DateTime: when the file was last changed, at first by the camera itself."""
    edited: bool = False
    """Whether a program that changes images says that it wrote the file; looked at only where `changed` may count."""
    gps_time: str = ""
    """`YYYY:MM:DD HH:MM:SS` in UTC, from the satellites; read only where the file tells no other time."""


class UnusualExif(ValueError):
    """EXIF that is not written the usual way, so that Pillow has to read it."""


def read_jpeg_exif(data: bytes) -> Exif:
    """EXIF of a JPEG, by the short way where it can be used."""
    try:
        outer, inner = read_folders(data, _TAGS)
    except UnusualExif:
        return read_exif(data)
    taken = _text(inner, _ORIGINAL[0]) or _text(outer, _ORIGINAL[0])
    if _tells(taken):
        return _exif(outer, inner, taken)
    if _GPS in outer:
        return read_exif(data)
    app1 = (data[one.content : one.end] for one in segments(data) if one.marker == APP1)
    return _exif(outer, inner, taken, next((content for content in app1 if content.startswith(XMP)), b""))


def read_exif(data: bytes) -> Exif:
    """EXIF of any image. Damaged EXIF counts as absent: it is a witness, and never a reason to refuse a frame."""
    try:
        tags, xmp = _tags(data)
        inner = tags.get_ifd(_INNER)
        taken = _text(inner, _ORIGINAL[0]) or _text(tags, _ORIGINAL[0])
        return _exif(tags, inner, taken, xmp, lambda: tags.get_ifd(_GPS))
    except PARSER_ERRORS:
        return Exif()


def _tags(data: bytes) -> tuple["Image.Exif", bytes]:
    """EXIF and XMP, with the orientation of the one or the other. Raises `PARSER_ERRORS`."""
    from PIL import Image

    try:
        block, xmp = exif_block(data)
    except UnusualJpeg:
        with Image.open(io.BytesIO(data[:MAX_BYTES])) as image:
            return image.getexif(), image.info.get("xmp", b"")
    tags = Image.Exif()
    tags.load(block)
    if _ORIENTATION not in tags and (written := _XMP_ORIENTATION.search(xmp)) is not None:
        tags[_ORIENTATION] = int(written[1])
    return tags, xmp


def read_folders(data: bytes, wanted: frozenset[int]) -> tuple[Folder, Folder]:
    """Those of the `wanted` tags that the outer and the inner EXIF folder of a JPEG hold.

    Raises `UnusualExif`, also where XMP may hold an orientation that EXIF lacks.
    """
    try:
        found = [one for one in segments(data) if one.marker == APP1]
    except UnusualJpeg as error:
        raise UnusualExif(str(error)) from error
    blocks = [one for one in found if data.startswith(EXIF, one.content)]
    outer: Folder = {}
    inner: Folder = {}
    if len(blocks) > 1:
        raise UnusualExif("EXIF in several segments")
    for block in (data[one.content + len(EXIF) : one.end] for one in blocks):
        try:
            order = _ORDERS[block[:4]]
            outer = _read_folder(block, order, struct.unpack_from(order + "I", block, 4)[0], wanted | {_INNER})
            if (place := outer.pop(_INNER, None)) is not None:
                inner = _read_folder(block, order, int(place), wanted)
        except (struct.error, KeyError, ValueError) as error:
            raise UnusualExif("damaged, or of a rare kind") from error
    if _ORIENTATION not in outer and any(data.startswith(XMP, one.content) for one in found):
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


def _exif(
    tags: Mapping[int, object],
    inner: Mapping[int, object],
    taken: str,
    xmp: bytes = b"",
    gps: Callable[[], Mapping[int, object]] = dict,
) -> Exif:
    orientation = _tag(tags, _ORIENTATION)
    known = _tells(taken)
    software = "" if known else " ".join(_text(tags, tag) for tag in _SOFTWARE)
    return Exif(
        date_time_original=taken,
        sub_seconds=_text(inner, _ORIGINAL[1]),
        offset=_text(inner, _ORIGINAL[2]),
        camera=" ".join(filter(None, (_text(tags, _MAKE), _text(tags, _MODEL)))),
        orientation=orientation if isinstance(orientation, int) and orientation in FLIPS else 1,
        digitized=(_text(inner, _DIGITIZED[0]), _text(inner, _DIGITIZED[1]), _text(inner, _DIGITIZED[2])),
        changed=(_text(tags, _CHANGED[0]), _text(inner, _CHANGED[1]), _text(inner, _CHANGED[2])),
        edited=not known and (_EDITORS.search(software) is not None or _XMP_EDIT.search(xmp) is not None),
        gps_time="" if known else _gps_time(gps),
    )


def _tells(text: str) -> bool:
    """Whether a text can be a time, and not the zeros and blanks of a clock that was never set."""
    return text[:2] in ("19", "20")


def _gps_time(read: Callable[[], Mapping[int, object]]) -> str:
    try:
        gps = read()
        parts = gps.get(_GPS_TIME)
        if not isinstance(parts, tuple) or len(parts) != 3 or not (date := _text(gps, _GPS_DATE)):
            return ""
        return f"{date} {int(parts[0]):02}:{int(parts[1]):02}:{int(parts[2]):02}"
    except PARSER_ERRORS:
        return ""


def _tag(tags: Mapping[int, object], tag: int) -> object:
    """One value; each is parsed only when it is asked for, and a damaged one takes no other with it."""
    try:
        return tags.get(tag)
    except PARSER_ERRORS:
        return None


def _text(tags: Mapping[int, object], tag: int) -> str:
    """A text as people could have written it: in one line, and no longer than any camera's."""
    value = _tag(tags, tag)
    if isinstance(value, bytes):
        value = value[:_LONGEST_TEXT].decode("ascii", "replace")
    if not isinstance(value, str):
        return ""
    text = value.strip("\0 ")[:_LONGEST_TEXT].partition("\0")[0]
    return (text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)).strip()
