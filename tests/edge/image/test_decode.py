from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.image import decode as frame
from edge.image.decode import BadFrame, DecodedFrame
from edge.image.resize import Pixels, resize_to_input
from tests.support.made_images import encoded, scenery

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
TURNED = (
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)
"""How a camera stores an upright image under the EXIF orientations 2 to 8."""


def mean_difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_gives_the_same_image(format_: str) -> None:
    decoded = frame.decode(encoded(scenery(), format_))
    assert (decoded.width_px, decoded.height_px) == (160, 120)
    assert mean_difference(decoded.pixels, scenery()) < 4


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 0}), ("RGB", {"subsampling": 2})],
)
def test_every_kind_of_jpeg(mode: str, options: dict[str, object]) -> None:
    expected = np.asarray(Image.fromarray(scenery()).convert(mode).convert("RGB"))
    decoded = frame.decode(encoded(scenery(), "JPEG", mode, quality=95, **options))
    assert decoded.pixels.shape == (120, 160, 3)
    assert mean_difference(decoded.pixels, expected) < 6


@pytest.mark.parametrize("format_", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_upright(format_: str, orientation: int) -> None:
    upright = Image.fromarray(scenery())
    stored = upright if orientation == 1 else upright.transpose(TURNED[orientation - 2])
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = frame.decode(encoded(np.asarray(stored), format_, exif=exif))
    assert (decoded.width_px, decoded.height_px) == (160, 120)
    assert mean_difference(decoded.pixels, scenery()) < 4


def test_the_decoder_shrinks_only_as_far_as_asked() -> None:
    large = encoded(scenery(1200, 1600))
    small = frame.decode(large, 256)
    assert 256 <= min(small.pixels.shape[:2]) < 600
    assert (small.width_px, small.height_px) == (1600, 1200)
    assert frame.decode(large).pixels.shape == (1200, 1600, 3)
    assert frame.decode(encoded(scenery()), 256).pixels.shape == (120, 160, 3)


@pytest.mark.parametrize("format_", FORMATS)
def test_an_incomplete_file_is_refused_wherever_it_is_cut(format_: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    data = encoded(noise, format_)
    for part in (0.05, 0.3, 0.6, 0.9, 0.99):
        with pytest.raises(BadFrame):
            frame.decode(data[: int(len(data) * part)], name="half.jpg")


def test_bytes_after_the_end_marker_are_allowed() -> None:
    assert frame.decode(encoded(scenery()) + b"\0" * 100).width_px == 160


def test_a_file_whose_second_half_is_zeros_is_no_image() -> None:
    """After a power cut a memory card may hold the size of a file without its bytes."""
    data = encoded(np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))
    with pytest.raises(BadFrame) as caught:
        frame.decode(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert caught.value.reason in ("truncated", "corrupt")


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"", "a.jpg", "empty"),
        (b"", "a", "empty"),
        (b"hello", "a.jpg", "not_an_image"),
        (b"\0\0\0\x18ftypmp42", "a.mp4", "unsupported_format"),
        (b"hello", "notes.txt", "unsupported_format"),
        (encoded(scenery(), "TIFF"), "a.NEF", "unsupported_format"),
        (b"", "a.dng", "unsupported_format"),
        (b"II*\0\x10\0\0\0CR\2\0", "a.tif", "unsupported_format"),
        (b"\xff\xd8\xff", "a.jpg", "truncated"),
    ],
)
def test_a_file_that_is_no_image_is_refused_with_the_reason(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(BadFrame) as caught:
        frame.decode(data, name=name)
    assert caught.value.reason == reason


def test_a_declared_size_is_refused_before_anything_is_decoded() -> None:
    for format_, data in (("PNG", encoded(scenery(), "PNG")), ("BMP", encoded(scenery(), "BMP"))):
        bomb = bytearray(data)
        if format_ == "PNG":
            bomb[16:24] = (60000).to_bytes(4, "big") * 2
        else:
            bomb[18:26] = (60000).to_bytes(4, "little") * 2
        with pytest.raises(BadFrame) as caught:
            frame.decode(bytes(bomb))
        assert caught.value.reason in ("too_large", "corrupt", "truncated")


def test_exif_tells_what_the_camera_wrote() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Bushnell", "Trophy"
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x9291], inner[0x9011] = "2021:07:01 11:23:54", "250", "+03:00"
    found = frame.decode(encoded(scenery(), exif=exif)).exif
    assert found.date_time_original == "2021:07:01 11:23:54"
    assert (found.sub_seconds, found.offset, found.camera) == ("250", "+03:00", "Bushnell Trophy")


@pytest.mark.parametrize("mode", ["squash", "letterbox", "crop"])
@pytest.mark.parametrize("shape", [(120, 160), (160, 120), (64, 64), (10, 300)])
def test_every_resize_mode_fills_the_input(mode: str, shape: tuple[int, int]) -> None:
    assert resize_to_input(scenery(*shape), 64, 64, mode).shape == (64, 64, 3)


def test_a_resize_keeps_what_its_mode_promises() -> None:
    """A ramp from left to right, twice as wide as high."""
    ramp = np.repeat(np.tile(np.arange(200, dtype=np.uint8), (100, 1))[..., None], 3, axis=2)
    squashed, boxed, cropped = (resize_to_input(ramp, 50, 50, mode) for mode in ("squash", "letterbox", "crop"))
    assert (squashed[25, 0, 0] < 5, squashed[25, -1, 0] > 194) == (True, True)
    assert (boxed[0] == 127).all()
    assert (boxed[25, 0, 0] < 5, boxed[25, -1, 0] > 194) == (True, True)
    assert (abs(int(cropped[25, 0, 0]) - 50) < 4, abs(int(cropped[25, -1, 0]) - 150) < 4) == (True, True)


def test_a_frame_decoded_at_a_scale_is_resized_to_nearly_the_same_pixels(field_frames: list[Path]) -> None:
    """Frames that are resized directly from every pixel, without the common grid in between, differ more."""
    found, straight = 0.0, 0.0
    for path in field_frames[::10]:
        whole, scaled = (frame.decode(path.read_bytes(), least).pixels for least in (None, 512))
        fitted = resize_to_input(scaled, 256, 256, "squash")
        found += mean_difference(fitted, resize_to_input(whole, 256, 256, "squash"))
        flat = np.asarray(cv2.resize(whole, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
        straight += mean_difference(fitted, flat)
    assert found < 0.9 * straight


def test_the_digest_is_of_the_content_alone() -> None:
    assert frame.digest(b"a") == frame.digest(memoryview(b"a")) != frame.digest(b"b")
    assert len(frame.digest(b"")) == 40


def test_a_real_frame_is_whole(field_frames: list[Path]) -> None:
    for path in field_frames[:5]:
        decoded = frame.decode(path.read_bytes(), 256)
        assert isinstance(decoded, DecodedFrame)
        assert min(decoded.pixels.shape[:2]) >= 256


def test_raw_data_is_named_and_a_jpeg_of_such_a_name_is_decoded() -> None:
    with pytest.raises(BadFrame, match=r"\.arw is raw data"):
        frame.decode(encoded(scenery(), "TIFF"), name="DSC0001.ARW")
    with pytest.raises(BadFrame, match="it is raw data"):
        frame.decode(encoded(scenery(), "TIFF", tiffinfo={50706: b"\1\4\0\0"}), name="a.tif")
    assert frame.decode(encoded(scenery()), name="a.raw").width_px == 160


@pytest.mark.parametrize(("format_", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("MPO", {})])
def test_of_several_images_in_a_file_the_first_is_decoded(format_: str, options: dict[str, Any]) -> None:
    others = [Image.fromarray(255 - scenery()), Image.fromarray(scenery()[::-1])]
    several = frame.decode(encoded(scenery(), format_, save_all=True, append_images=others, **options))
    assert several.pictures == 3
    assert mean_difference(several.pixels, scenery()) < 4
    assert frame.decode(encoded(scenery(), "JPEG" if format_ == "MPO" else format_)).pictures == 1
