"""Number of images in one JPEG file: stereo cameras and telephones write several into one (the MPO format)."""

import struct

from edge.image.containers.jpeg_segments import APP2, UnusualJpeg, segments

_MPF, _NUMBER_OF_IMAGES = b"MPF\0", 0xB001


def images_in_jpeg(data: bytes) -> int:
    """Number of images in a file: more than one in the multi-image format (MPF) of stereo cameras and telephones."""
    try:
        for segment in segments(data):
            block = data[segment.content : segment.end]
            if segment.marker == APP2 and block.startswith(_MPF):
                return _number_of_images(block[len(_MPF) :])
    except (UnusualJpeg, struct.error):
        pass
    return 1


def _number_of_images(block: bytes) -> int:
    order = "<" if block[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", block, 4)
    (entries,) = struct.unpack_from(order + "H", block, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, _kind, _count, value = struct.unpack_from(order + "HHII", block, entry)
        if tag == _NUMBER_OF_IMAGES:
            return max(1, int(value))
    return 1
