"""Directories of TIFF and EXIF: which values there are, how large they are, and nothing that is only declared."""

import struct
from contextlib import suppress
from dataclasses import dataclass

from edge.image.containers.too_many import TooManyParts

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of one value of each type."""
_FORMS = {1: "B", 3: "H", 4: "I", 13: "I"}
SIZE, ORIENTATION = (256, 257), 274
PARTS = ((273, 279), (324, 325))  # offsets and sizes in bytes of strips, and of tiles
_INNER = (0x8769, 0x8825, 0xA005)
_MAX_ENTRIES = 200_000  # of the directories of all pages
MAX_PARTS = 100_000  # strips or tiles


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one tag."""

    kind: int
    count: int
    at: int
    """Offset of the first value."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory."""

    data: bytes
    order: str
    """`<` or `>`, as `struct` has it."""
    tags: dict[int, Values]
    value_bytes: int
    """Sum of the sizes of all values, each counted as often as it is named."""
    next_at: int
    """Offset of the next page's directory; 0 for the last."""

    def numbers(self, tag: int, at_most: int = 64) -> tuple[int, ...]:
        """The whole numbers of a tag; none where it is absent. Raises `ValueError` for another type or for more."""
        values = self.tags.get(tag)
        if values is None:
            return ()
        if values.kind not in _FORMS or values.count > at_most:
            raise ValueError(f"tag {tag} has {values.count} values of type {values.kind}")
        try:
            return struct.unpack_from(f"{self.order}{values.count}{_FORMS[values.kind]}", self.data, values.at)
        except struct.error as error:
            raise ValueError(f"truncated before the values of tag {tag}") from error

    def number(self, tag: int, otherwise: int) -> int:
        """The first number of a tag, or `otherwise` where there is none. Raises `ValueError`."""
        return next(iter(self.numbers(tag)), otherwise)


def first_directory(data: bytes) -> Directory:
    """The directory of the first page. Raises `ValueError`."""
    order, at = _header(data)
    return directory(data, order, at)


def directory(data: bytes, order: str, at: int) -> Directory:
    """The directory at an offset, as far as it is in the file."""
    tags: dict[int, Values] = {}
    size = 0
    next_at = 0
    with suppress(struct.error):
        (entries,) = struct.unpack_from(order + "H", data, at)
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            tag, kind, count, place = struct.unpack_from(order + "HHII", data, entry)
            length = count * _SIZES.get(kind, 0)
            tags.setdefault(tag, Values(kind, count, place if length > 4 else entry + 8))
            size += length
        (next_at,) = struct.unpack_from(order + "I", data, at + 2 + 12 * entries)
    return Directory(data, order, tags, size, next_at)


def all_value_bytes(first: Directory) -> int:
    """Bytes of the values of a directory and of those of EXIF, satellites and interoperability inside it."""
    inner = (directory(first.data, first.order, *first.numbers(tag, 1)) for tag in _INNER if tag in first.tags)
    return first.value_bytes + sum(one.value_bytes for one in inner)


def directories(data: bytes) -> list[Directory]:
    """The directories of all pages; a chain that comes back to itself ends there. Raises `ValueError`."""
    order, at = _header(data)
    found: dict[int, Directory] = {}
    entries = 0
    while (at and at not in found) or not found:
        found[at] = directory(data, order, at)
        entries += 1 + len(found[at].tags)
        if entries > _MAX_ENTRIES:
            raise TooManyParts(f"its pages have more than {_MAX_ENTRIES:,} entries")
        at = found[at].next_at
    return list(found.values())


def _header(data: bytes) -> tuple[str, int]:
    if data[:4] not in ORDERS or len(data) < 8:
        raise ValueError("no header of a TIFF")
    order = ORDERS[data[:4]]
    return order, int(struct.unpack_from(order + "I", data, 4)[0])
