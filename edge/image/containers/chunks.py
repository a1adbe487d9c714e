"""The chunks of PNG and WebP files."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from edge.image.containers.too_many import TooManyParts

MAX_CHUNKS = 200_000  # writers make one for some kilobytes; walking over millions of empty ones takes minutes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, as offsets into the file."""

    kind: bytes
    begin: int
    """Offset of its first byte, before kind and length."""
    content: int
    """Offset of its content."""
    size: int
    """Bytes of its content."""

    @property
    def end(self) -> int:
        """Offset behind its content."""
        return self.content + self.size


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks up to `IEND`. Raises `ValueError` where one is cut off, or one too many."""
    for chunk in _walk(data, 8, ">I4s", kind_first=False, trailer=4):
        yield chunk
        if chunk.kind == b"IEND":
            return
    raise ValueError("truncated before IEND")


def check_sum(data: bytes, chunk: Chunk) -> None:
    """Raises `ValueError` for a damaged chunk of a PNG."""
    if zlib.crc32(memoryview(data)[chunk.begin + 4 : chunk.end]) != struct.unpack_from(">I", data, chunk.end)[0]:
        raise ValueError(f"the checksum of its chunk {chunk.kind!r} is wrong")


def webp_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of the size that the header names. Raises `ValueError` where one is cut off, or one too many."""
    if len(data) < 12:
        raise ValueError("truncated in its header")
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < end:
        raise ValueError("truncated before the end that its header names")
    yield from _walk(data[:end] if end < len(data) else data, 12, "<4sI", kind_first=True)


def _walk(data: bytes, at: int, header: str, kind_first: bool, trailer: int = 0) -> Iterator[Chunk]:
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return
        first, second = struct.unpack_from(header, data, at)
        kind, size = (first, second) if kind_first else (second, first)
        if at + 8 + size + trailer > len(data):
            raise ValueError(f"truncated in its chunk {kind!r}")
        yield Chunk(kind, at, at + 8, size)
        at += 8 + size + (trailer or size % 2)
    raise TooManyParts(f"it is made of more than {MAX_CHUNKS:,} chunks")
