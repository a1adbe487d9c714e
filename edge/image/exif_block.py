"""Where each format keeps EXIF and XMP, and how much of it is read: a few bytes can declare or unpack to gigabytes."""

import zlib

from edge.image.containers.chunks import Chunk, png_chunks, webp_chunks
from edge.image.containers.jpeg_segments import APP1, segments
from edge.image.containers.tiff_directory import ORDERS, all_value_bytes, first_directory

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/"
MAX_BYTES = 1_000_000  # a camera's EXIF has at most 64 kB
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0"
_PNG_PROFILE = b"Raw profile type exif\0"
_WEBP_XMP = b"XMP "
_TIFF_XMP = 700


def exif_block(data: bytes) -> tuple[bytes, bytes]:
    """EXIF, without what introduces it, and XMP of a file; empty where there is none.

    Raises `ValueError` (`UnusualJpeg` is one) and `zlib.error`, also where it is larger than `MAX_BYTES`.
    """
    if data[:4] in ORDERS:
        first = first_directory(data)
        xmp = first.tags.get(_TIFF_XMP)
        block, found = data, b"" if xmp is None else data[xmp.at : xmp.at + xmp.count]
    elif data[:4] == b"RIFF":
        kept = {chunk.kind: _content(data, chunk) for chunk in webp_chunks(data) if chunk.kind in (b"EXIF", _WEBP_XMP)}
        block, found = kept.get(b"EXIF", b""), kept.get(_WEBP_XMP, b"")
    elif data[:3] == b"\xff\xd8\xff":
        app1 = [one for one in segments(data) if one.marker == APP1]
        parts = [(one.content + len(EXIF), one.end) for one in app1 if data.startswith(EXIF, one.content)]
        if sum(end - begin for begin, end in parts) > MAX_BYTES:
            raise ValueError("EXIF in many segments")
        block = b"".join(data[begin:end] for begin, end in parts)
        found = next((data[one.content : one.end] for one in app1 if data.startswith(XMP, one.content)), b"")
    else:
        block, found = _of_png(data) if data[:4] == b"\x89PNG" else (b"", b"")
    block = block.removeprefix(EXIF)
    if block and block is not data:  # of a TIFF the image itself needed its directories
        named = max(len(block), all_value_bytes(first_directory(block)))
        if named > MAX_BYTES:
            raise ValueError(f"EXIF of {named:,} bytes")
    return block, found


def _of_png(data: bytes) -> tuple[bytes, bytes]:
    block = xmp = b""
    for chunk in png_chunks(data):
        if chunk.kind == b"eXIf":
            block = _content(data, chunk)
        elif chunk.kind == b"zTXt" and data.startswith(_PNG_PROFILE, chunk.content) and not block:
            packed = _content(data, chunk)[len(_PNG_PROFILE) + 1 :]
            text = zlib.decompressobj().decompress(packed, MAX_BYTES)
            block = bytes.fromhex("".join(text.decode("ascii").split("\n")[3:]))
        elif chunk.kind == b"iTXt" and data.startswith(_PNG_XMP, chunk.content):
            xmp = _content(data, chunk)
    return block, xmp


def _content(data: bytes, chunk: Chunk) -> bytes:
    return data[chunk.content : min(chunk.end, chunk.content + MAX_BYTES)]
