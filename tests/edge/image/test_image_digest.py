"""The image digest stays when metadata change and changes with the image, in every format that has one."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from edge.image.containers.jpeg_segments import image_end, segments
from edge.image.decode import recognise
from edge.image.image_digest import NO_DIGEST, has_detail, image_digest
from edge.image.resize import Pixels
from tests.support.made_images import encoded, noisy_jpeg, scenery


def of(data: bytes) -> str:
    return image_digest(data, recognise(data))


def with_time(pixels: Pixels, format_: str, time: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0132] = time
    return encoded(pixels, format_, exif=exif, **options)


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
    ],
)
def test_metadata_leave_it_and_another_image_does_not(format_: str, options: dict[str, Any]) -> None:
    image, other = scenery(), scenery()
    other[50, 50] = 255 - other[50, 50]
    bare, dated, later = (
        encoded(image, format_, **options),
        with_time(image, format_, "2013:01:01 12:00:00", **options),
        with_time(image, format_, "2017:04:03 15:30:00 and more", **options),
    )
    assert of(bare) == of(dated) == of(later) != NO_DIGEST
    assert of(encoded(other, format_, **options)) != of(bare)


def test_text_beside_a_png_leaves_it() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a leopard")
    assert of(encoded(scenery(), "PNG", pnginfo=text)) == of(encoded(scenery(), "PNG"))


def test_a_preview_or_padding_after_the_end_leaves_it() -> None:
    data = noisy_jpeg(1)
    assert of(data) == of(data + bytes(999)) == of(data + noisy_jpeg(2))


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_one_byte_of_the_compressed_data_changes_it(at: float) -> None:
    """Also beyond what is sampled."""
    data = encoded(np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8), quality=95)
    mutant = bytearray(data)
    mutant[int(len(data) * at)] ^= 1
    assert len(data) > 200_000
    assert of(bytes(mutant)) != of(data)


def test_a_file_that_cannot_be_taken_apart_has_none() -> None:
    assert of(encoded(scenery(), "BMP")) == NO_DIGEST
    assert image_digest(noisy_jpeg(1)[:40], "JPEG") == NO_DIGEST
    assert image_digest(b"", "PNG") == NO_DIGEST
    assert image_digest(b"", "WebP") == NO_DIGEST


def test_the_end_of_the_image_is_the_first_end_marker() -> None:
    data = noisy_jpeg(1)
    begin = list(segments(data))[-1].end
    assert image_end(data, begin) == len(data) == image_end(data + noisy_jpeg(2), begin)
    assert image_end(data[:-1], begin) == len(data) - 1
    assert image_end(b"", 0) == 0


def test_flat_images_have_no_detail() -> None:
    flat, spot = np.full((80, 99, 3), 9, np.uint8), np.full((80, 99, 3), 9, np.uint8)
    spot[33, 33] = 10
    halves = np.repeat(np.array([0, 200], np.uint8), 40)[:, None, None] * np.ones((1, 96, 3), np.uint8)
    assert (has_detail(flat), has_detail(spot), has_detail(halves)) == (False, True, False)
    assert not has_detail(flat[:5, :5])
    with Image.open(io.BytesIO(encoded(flat))) as image:
        assert not has_detail(np.asarray(image))


def test_real_frames_differ(field_frames: list[Path]) -> None:
    digests = {of(path.read_bytes()) for path in field_frames}
    assert len(digests) == len(field_frames)
    assert NO_DIGEST not in digests
