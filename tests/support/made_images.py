"""Small made images, and their bytes in a file format."""

import io

import cv2
import numpy as np
from PIL import Image

from edge.image.resize import Pixels


def scenery(height: int = 120, width: int = 160) -> Pixels:
    """A smooth image whose four corners differ: red, green, blue, white."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encoded(pixels: Pixels, format_: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """The image as the bytes of a file."""
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, format_, **options)
    return out.getvalue()


def noisy_jpeg(seed: int, captured: str | None = None, height: int = 6, width: int = 8, block_px: int = 24) -> bytes:
    """A JPEG of coloured blocks, another one for each seed; `captured` becomes EXIF DateTimeOriginal."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    if captured:
        exif.get_ifd(0x8769)[0x9003] = captured
    return encoded(noise.repeat(block_px, axis=0).repeat(block_px, axis=1), quality=90, exif=exif)
