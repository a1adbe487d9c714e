"""Files that cost their decoder more than they weigh: one function for each kind, from a width and a height to bytes.

Each is whole and is written as its format wants it, so that only its cost can be the reason to refuse it. Compressed
kinds hold one colour, so that a few kilobytes become hundreds of megapixels.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image

Maker = Callable[[int, int], bytes]

_ROWS = 256  # of a PNG, packed at once
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values for a pixel by a PNG's kind of colour."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps, of the passes of an interlaced PNG."""


def _saved(mode: str, format_: str, **options: object) -> Maker:
    def make(width: int, height: int) -> bytes:
        out = io.BytesIO()
        Image.new(mode, (width, height)).save(out, format_, **options)
        return out.getvalue()

    return make


def camera_jpeg(width: int, height: int, **options: object) -> bytes:
    """A JPEG of soft noise, about as heavy as a camera's."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(cv2.resize(noise, (width, height))).save(out, "JPEG", quality=90, **options)
    return out.getvalue()


def _camera(**options: object) -> Maker:
    return lambda width, height: camera_jpeg(width, height, **options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(colour: int, bits: int, interlaced: bool = False, extra: bytes = b"") -> Maker:
    """A black PNG; `extra` are chunks before its image."""

    def make(width: int, height: int) -> bytes:
        passes = [(width, height)]
        if interlaced:
            passes = [(-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in _PASSES]
        packed = b"".join(_packed_rows((high, 1 + -(-wide * _SAMPLES[colour] * bits // 8)) for wide, high in passes))
        header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
        palette = png_chunk(b"PLTE", bytes(768)) if colour == 3 else b""
        chunks = [png_chunk(b"IHDR", header), extra, palette, png_chunk(b"IDAT", packed), png_chunk(b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    return make


def _packed_rows(parts: Iterator[tuple[int, int]]) -> Iterator[bytes]:
    """Rows of zeros, by their numbers and bytes, as one deflated stream."""
    packer = zlib.compressobj(6)
    for count, size in parts:
        while count > 0:
            yield packer.compress(bytes(size * min(count, max(1, _ROWS * 30_000 // size))))
            count -= max(1, _ROWS * 30_000 // size)
    yield packer.flush()


def flat_jpeg(factors: tuple[int, ...] = (0x11, 0x11, 0x11), process: int = 0xC0, bands: int = 0) -> Maker:
    """A JPEG of one colour, with the sampling factors of its components and the number of its process.

    Progressive (0xC2): a scan of all means, then one for each component and each of so many `bands`. Otherwise one scan
    for each component where `bands` is 1.
    """

    def make(width: int, height: int) -> bytes:
        across, down = (8 * max(factor >> 4 for factor in factors), 8 * max(factor & 15 for factor in factors))
        units = -(-width // across) * -(-height // down)
        blocks = sum((factor >> 4) * (factor & 15) for factor in factors) * units
        frame = struct.pack(">BHHB", 8, height, width, len(factors))
        frame += b"".join(bytes((number, factor, 0)) for number, factor in enumerate(factors))
        # One code for "no difference" and one for "nothing more": a block is one or two bits of zero.
        tables = b"".join(_segment(0xC4, bytes((kind, 1)) + bytes(16)) for kind in (0x00, 0x10))
        everything = bytes((len(factors),)) + b"".join(bytes((number, 0)) for number in range(len(factors)))
        scans = []
        if process == 0xC2:
            scans.append(_scan(everything, 0, 0, blocks))
        elif not bands:
            scans.append(_scan(everything, 0, 63, 2 * blocks))
        for band in range(1, bands + 1):
            for number, factor in enumerate(factors):
                columns, rows = -(-width * (factor >> 4) // across), -(-height * (factor & 15) // down)
                one = bytes((1, number, 0))
                if process == 0xC2:
                    scans.append(_scan(one, band, 63 if band == bands else band, columns * rows))
                else:
                    scans.append(_scan(one, 0, 63, 2 * columns * rows))
        quantiser = _segment(0xDB, b"\0" + b"\1" * 64)
        return b"\xff\xd8" + quantiser + _segment(process, frame) + tables + b"".join(scans) + b"\xff\xd9"

    return make


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _scan(components: bytes, first: int, last: int, bits: int) -> bytes:
    end = bytes(((1 << (8 - bits % 8)) - 1,)) if bits % 8 else b""
    return _segment(0xDA, components + bytes((first, last, 0))) + bytes(bits // 8) + end.replace(b"\xff", b"\xff\0")


def with_segments(data: bytes, marker: int, contents: list[bytes]) -> bytes:
    """A JPEG with further segments after its start."""
    return data[:2] + b"".join(_segment(marker, content) for content in contents) + data[2:]


def tiff(
    samples: int = 3, bits: int = 8, compression: int = 8, rows: int = 0, tile_px: int = 0, turned: bool = False
) -> Maker:
    """A black TIFF: `compression` 1 (none) or 8 (Deflate), in strips of `rows` (0: one strip) or in square tiles."""

    def make(width: int, height: int) -> bytes:
        if tile_px:
            sizes = [tile_px * tile_px * samples * bits // 8] * (-(-width // tile_px) * -(-height // tile_px))
        else:
            step, row = rows or height, -(-width * samples * bits // 8)
            sizes = [row * min(step, height - top) for top in range(0, height, step)]
        kinds = {size: _deflated_zeros(size) if compression == 8 else bytes(size) for size in set(sizes)}
        body, places = b"", {}
        for size, packed in kinds.items():  # strips that are alike share their bytes
            places[size] = 8 + len(body)
            body += packed + b"\0" * (len(packed) % 2)
        tags: dict[int, tuple[int, list[int]]] = {
            256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * samples), 259: (3, [compression]),
            262: (3, [2 if samples >= 3 else 1]), 277: (3, [samples]),
            (324 if tile_px else 273): (4, [places[size] for size in sizes]),
            (325 if tile_px else 279): (4, [len(kinds[size]) for size in sizes]),
        }  # fmt: skip
        tags |= {322: (4, [tile_px]), 323: (4, [tile_px])} if tile_px else {278: (4, [rows or height])}
        tags |= {338: (3, [0] * (samples - 3))} if samples > 3 else {}
        tags |= {274: (3, [6])} if turned else {}
        return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + tiff_directory(8 + len(body), tags)

    return make


def tiff_directory(at: int, tags: dict[int, tuple[int, list[int]]], next_at: int = 0) -> bytes:
    """A directory of SHORT (3) and LONG (4) values that begins at an offset, its values behind it."""
    entries, values = b"", b""
    behind = at + 6 + 12 * len(tags)
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        inside = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", behind + len(values))
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + inside
        values += packed if len(packed) > 4 else b""
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", next_at) + values


def _deflated_zeros(size: int) -> bytes:
    return b"".join(_packed_zeros(size))


def _packed_zeros(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(6)
    for at in range(0, size, 1 << 20):
        yield packer.compress(bytes(min(1 << 20, size - at)))
    yield packer.flush()


def _moving_webp(width: int, height: int) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (width, height), colour) for colour in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()


BY_SIZE: dict[str, Maker] = {
    "JPEG baseline": _camera(),
    "JPEG baseline 4:4:4": _camera(subsampling=0),
    "JPEG baseline, a scan for each colour": flat_jpeg((0x22, 0x11, 0x11), bands=1),
    "JPEG progressive 4:2:0": _camera(progressive=True),
    "JPEG progressive 4:4:4": _camera(progressive=True, subsampling=0),
    "JPEG progressive, flat": flat_jpeg(process=0xC2, bands=2),
    "JPEG progressive CMYK": flat_jpeg((0x11,) * 4, 0xC2, 2),
    "JPEG progressive grey": flat_jpeg((0x11,), 0xC2, 2),
    "PNG RGB": png(2, 8),
    "PNG RGB interlaced": png(2, 8, interlaced=True),
    "PNG RGBA 16 bits interlaced": png(6, 16, interlaced=True),
    "PNG RGB 16 bits": png(2, 16),
    "PNG grey": png(0, 8),
    "PNG grey 16 bits": png(0, 16),
    "PNG 1 bit": png(0, 1),
    "PNG palette": png(3, 8),
    "TIFF Deflate, one strip": tiff(),
    "TIFF Deflate, strips": tiff(rows=16),
    "TIFF Deflate, tiles": tiff(tile_px=256),
    "TIFF Deflate, 16 bits": tiff(bits=16, rows=16),
    "TIFF Deflate, turned": tiff(rows=16, turned=True),
    "TIFF LZW": _saved("RGB", "TIFF", compression="tiff_lzw"),
    "TIFF PackBits": _saved("RGB", "TIFF", compression="packbits"),
    "TIFF JPEG": _saved("RGB", "TIFF", compression="jpeg"),
    "TIFF CCITT": _saved("1", "TIFF", compression="group4"),
    "TIFF uncompressed": tiff(compression=1, rows=64),
    "WebP": _saved("RGB", "WEBP"),
    "WebP lossless": _saved("RGB", "WEBP", lossless=True, method=0),
    "WebP with alpha": _saved("RGBA", "WEBP", lossless=True, method=0),
    "WebP animation": _moving_webp,
    "BMP": _saved("RGB", "BMP"),
    "BMP grey": _saved("L", "BMP"),
}
"""Kinds whose cost grows with their size."""
