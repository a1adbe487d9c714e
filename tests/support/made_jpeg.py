"""Whole baseline JPEGs of any chroma sampling, also of those that no program writes."""

import random
from collections.abc import Sequence

from edge.image.containers.jpeg_segments import QUANTIZATION


def sampled_jpeg(samplings: Sequence[tuple[int, int]], width: int = 96, height: int = 64, seed: int = 0) -> bytes:
    """A colourful JPEG whose components have these (horizontal, vertical) sampling factors.

    Each block has a brightness of its own and no detail: a DC difference of -3..3, of four bits, and the end of block.
    """
    chance = random.Random(seed)
    # A scan of one component holds its blocks row by row, whatever its factors.
    in_scan = samplings if len(samplings) > 1 else [(1, 1)]
    most_x, most_y = (max(factors) for factors in zip(*in_scan, strict=True))
    units = -(-width // (8 * most_x)) * -(-height // (8 * most_y))
    bits = ""
    for _ in range(units):
        for across, down in in_scan:
            for _ in range(across * down):
                size = chance.randrange(3)
                bits += f"{size:02b}" + (f"{chance.randrange(1 << size):0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    names = range(1, len(samplings) + 1)
    frame = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(samplings)])
    frame += b"".join(
        bytes([name, across << 4 | down, 0]) for name, (across, down) in zip(names, samplings, strict=True)
    )
    header = bytes([len(samplings)]) + b"".join(bytes([name, 0]) for name in names) + b"\x00\x3f\x00"
    # Codes 00, 01, 10 for differences of 0, 1 and 2 bits; code 0 for the end of a block.
    parts = [(QUANTIZATION, b"\x00" + bytes([16] * 64)), (0xC0, frame)]
    parts += [
        (0xC4, b"\x00" + bytes([0, 3, *[0] * 14]) + bytes([0, 1, 2])),
        (0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\x00"),
    ]
    parts += [(0xDA, header)]
    segments = b"".join(
        bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content for marker, content in parts
    )
    return b"\xff\xd8" + segments + scan + b"\xff\xd9"
