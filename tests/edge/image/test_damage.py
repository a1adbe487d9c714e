"""Damage that no decoder notices is told from what people and cameras do to an image on purpose."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from edge.image.decode import BadFrame, decode
from edge.image.resize import Pixels
from edge.vocabulary import FileReason, ImageDoubt
from tests.support.made_images import encoded

SIDE_PX = 224
EDITS: dict[str, Callable[[Pixels], Pixels]] = {
    "masked strip": lambda image: painted(image, slice(380, None), slice(None)),
    "masked strip that begins with a row of blocks": lambda image: painted(image, slice(384, None), slice(None)),
    "grey strip": lambda image: painted(image, slice(368, None), slice(None), 127),
    "covered person": lambda image: painted(image, slice(100, 340), slice(200, 420)),
    "cropped below": lambda image: image[:400],
    "cropped left": lambda image: image[:, 96:],
    "mirrored": lambda image: image[:, ::-1],
    "more contrast": lambda image: shifted((image.astype(np.float32) - 100) * 2.5),
    "half lighter": lambda image: np.concatenate((image[:240], shifted(image[240:].astype(np.float32) + 45))),
    "dimmed strip": lambda image: np.concatenate((image[:320], shifted(image[320:].astype(np.float32) * 0.4))),
    "caption": lambda image: captioned(image, 60),
    "border": lambda image: np.pad(image, ((40, 40), (40, 40), (0, 0))),
}


def painted(image: Pixels, rows: slice, columns: slice, level: int = 0) -> Pixels:
    image = image.copy()
    image[rows, columns] = level
    return image


def shifted(levels: np.ndarray) -> Pixels:
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def captioned(image: Pixels, height: int) -> Pixels:
    image = painted(image, slice(-height, None), slice(None))
    return np.asarray(cv2.putText(image, "2026-05-01 12:00", (9, 460), 0, 1.2, (255, 255, 255), 2), np.uint8)


def meadow(seed: int = 0) -> Pixels:
    """An image with details of every size, from black to white, 480 by 640."""
    chance = np.random.default_rng(seed)
    sizes = ((4, 5), (12, 16), (48, 64), (240, 320))
    layers = [cv2.resize(chance.normal(0, 40, (*size, 3)), (640, 480), interpolation=cv2.INTER_CUBIC) for size in sizes]
    return shifted(127 + np.sum(layers, axis=0))


def with_thumbnail(image: Pixels, shown: Pixels) -> bytes:
    """A JPEG of `image` whose EXIF holds a thumbnail of `shown`."""
    small = encoded(np.asarray(cv2.resize(shown, (160, 120), interpolation=cv2.INTER_AREA), np.uint8), quality=90)
    block = b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 0) + small
    whole = encoded(np.ascontiguousarray(image), quality=85)
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_frame_is_accepted_and_its_doubt_named(edit: str) -> None:
    frame = decode(with_thumbnail(EDITS[edit](meadow()), meadow()), SIDE_PX)
    assert frame.doubt == ImageDoubt.THUMBNAIL_DIFFERS


def test_a_thumbnail_of_the_same_scene_raises_no_doubt() -> None:
    assert decode(with_thumbnail(meadow(), meadow()), SIDE_PX).doubt is None
    assert decode(encoded(meadow()), SIDE_PX).doubt is None


def test_a_narrow_caption_raises_no_doubt() -> None:
    assert decode(with_thumbnail(captioned(meadow(), 24), meadow()), SIDE_PX).doubt is None


def flips(data: bytes, wanted: int) -> list[bytes]:
    """Copies with one flipped bit that the strict decoder accepts, visibly changed in a tenth of the image or more."""
    chance = random.Random(3)
    found: list[bytes] = []
    whole = simplejpeg.decode_jpeg(data, "GRAY").astype(int)
    begin = data.index(b"\xff\xda", data.rindex(b"\xff\xd8")) + 14
    while len(found) < wanted:
        mutant = bytearray(data)
        mutant[chance.randrange(begin, len(data) - 2)] ^= 1 << chance.randrange(8)
        try:
            changed = np.abs(simplejpeg.decode_jpeg(bytes(mutant), "GRAY", strict=True).astype(int) - whole) > 20
        except ValueError:
            continue
        if changed.mean() > 0.1:
            found.append(bytes(mutant))
    return found


def test_most_flipped_bits_that_change_the_image_are_given_away() -> None:
    mutants = flips(with_thumbnail(meadow(), meadow()), 20)
    assert sum(map(is_refused, mutants)) >= 14


def is_refused(data: bytes) -> bool:
    try:
        decode(data, SIDE_PX)
    except BadFrame as bad:
        return bad.reason == FileReason.CORRUPT
    return False


@pytest.mark.parametrize("edit", ["masked strip", "half lighter", "mirrored", "caption"])
def test_edited_real_frames_are_accepted(field_frames: list[Path], edit: str) -> None:
    for path in field_frames[::12]:
        image = cv2.resize(decode(path.read_bytes(), 480).pixels, (640, 480), interpolation=cv2.INTER_AREA)
        shown = np.asarray(image, np.uint8)
        decode(with_thumbnail(EDITS[edit](shown), shown), SIDE_PX)
