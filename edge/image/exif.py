"""EXIF of a JPEG as cameras write it, read in microseconds; what is unusual in any way is left to Pillow."""

import struct
from collections.abc import Iterator

Folder = dict[int, str | int]

_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ASCII, _SHORT, _LONG = 2, 3, 4
_INNER, _ORIENTATION = 0x8769, 0x0112


class UnusualError(ValueError):
    """Not written as cameras write it: ask a parser that knows everything."""


def read_folders(data: bytes, wanted: frozenset[int]) -> tuple[Folder, Folder]:
    """The `wanted` tags of the outer and the inner folder of EXIF, those that are there.

    Raises `UnusualError`, also where XMP may hold an orientation that EXIF lacks.
    """
    segments = list(_app1_segments(data))
    blocks = [segment[len(_EXIF) :] for segment in segments if segment.startswith(_EXIF)]
    outer: Folder = {}
    inner: Folder = {}
    if len(blocks) > 1:
        raise UnusualError("EXIF in several segments")
    for block in blocks:
        try:
            order = _ORDERS[block[:4]]
            outer = _read_folder(block, order, struct.unpack_from(order + "I", block, 4)[0], wanted | {_INNER})
            if (place := outer.pop(_INNER, None)) is not None:
                inner = _read_folder(block, order, int(place), wanted)
        except (struct.error, KeyError, ValueError) as error:
            raise UnusualError("damaged, or of a rare kind") from error
    if _ORIENTATION not in outer and any(segment.startswith(_XMP) for segment in segments):
        raise UnusualError("XMP may hold the orientation")
    return outer, inner


def _app1_segments(data: bytes) -> Iterator[bytes]:
    """What those before the picture hold."""
    at = 2
    while at + 4 <= len(data):
        lead, marker, size = struct.unpack_from(">BBH", data, at)
        if lead != 0xFF or not 0xC0 <= marker < 0xFF:
            raise UnusualError("no marker where one belongs")
        if marker in (_START_OF_SCAN, _END):
            return
        if marker == _APP1:
            yield data[at + 4 : at + 2 + size]
        at += 2 + size
    raise UnusualError("it ends before the picture")


def _read_folder(block: bytes, order: str, at: int, wanted: frozenset[int]) -> Folder:
    found: Folder = {}
    (entries,) = struct.unpack_from(order + "H", block, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
        if tag not in wanted:
            continue
        if tag in found:
            raise UnusualError("a tag comes twice")
        if kind == _ASCII:
            start = entry + 8 if count <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
            if start + count > len(block):
                raise UnusualError("a text ends too early")
            found[tag] = block[start : start + count].decode("latin-1")
        elif kind in (_SHORT, _LONG) and count == 1:
            found[tag] = int(struct.unpack_from(order + ("H" if kind == _SHORT else "I"), block, entry + 8)[0])
        else:
            raise UnusualError("a rare kind of value")
    return found
