"""What a JPEG takes to decode: the memory of its decoder and of its result."""

from edge.image.containers.jpeg_segments import FrameHeader, UnusualJpeg, frame_header

_SCALABLE = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # processes with the cosine transform
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_BLOCK_PX = 8
_BLOCK_BYTES = 128  # of its coefficients
_CHECK_BYTES = 32  # for each block, of the check for damage
_MAX_COMPONENTS = 4
_MAX_FACTOR = 8


def needed_bytes(data: bytes, width: int, height: int, min_side_px: int | None) -> int:
    """The most memory at once for decoder and result, for the check for damage, and for turning the result upright.

    The decoder holds every coefficient when a file is progressive or has several scans for another reason. A header
    that is not written the usual way counts as the worst of them.
    """
    pixels = width * height
    try:
        header = frame_header(data)
    except UnusualJpeg:
        held, scalable, components = 2 * _MAX_COMPONENTS * pixels, True, _MAX_COMPONENTS
    else:
        scalable, components = header.marker in _SCALABLE, len(header.factors)
        row_by_row = scalable and header.marker not in _PROGRESSIVE and header.first_scan == components
        held = 0 if row_by_row else _coefficient_bytes(header)
    factor = 1
    while scalable and min_side_px and factor < _MAX_FACTOR and min(width, height) >= 2 * factor * min_side_px:
        factor *= 2
    result = 3 * pixels // factor**2
    colours = 4 * pixels // factor**2 if components == _MAX_COMPONENTS else 0  # four, before they become three
    # The check for damage decodes a copy of the file again, to the means of the blocks.
    checked = len(data) + max(held + pixels // _BLOCK_PX**2, pixels * _CHECK_BYTES // _BLOCK_PX**2)
    return result + max(held + colours, checked, result)


def _coefficient_bytes(header: FrameHeader) -> int:
    across, down = (max(1, *(pair[axis] for pair in header.factors)) for axis in (0, 1))
    columns, rows = -(-header.width_px // (_BLOCK_PX * across)), -(-header.height_px // (_BLOCK_PX * down))
    return sum(columns * max(1, wide) * rows * max(1, high) for wide, high in header.factors) * _BLOCK_BYTES
