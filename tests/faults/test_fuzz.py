"""Mutated files through decoding and EXIF: no crash, no hang, and no incomplete or damaged file is accepted."""

import io
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from edge.capture.capture_time import capture_time
from edge.image import decode as frame
from edge.timestamps import iso_utc
from tests.support.daemon_process import Tally
from tests.support.made_images import encoded
from tests.support.requirements import LONG

INPUTS = 21_000 if LONG else 300
OTHERS = 16_000 if LONG else 320
SIDE_PX = 224
HANG_S = 2.0
_END = b"\xff\xd9"
_HURT_LEVELS = 10.0  # mean change in grey levels above which a person sees a different image


def _scan_begin(data: bytes) -> int:
    """Offset of the image's own compressed data: after the last scan header before the bulk of the file."""
    thumbnail_end = data.find(_END, 0, 65_600)
    return data.find(b"\xff\xda", max(thumbnail_end, 0)) + 14


def _end(data: bytes) -> int:
    """Offset of the image's own end marker; cameras append previews that have one too."""
    return data.find(_END, _scan_begin(data))


def _flip(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    mutant[chance.randrange(_scan_begin(data), _end(data))] ^= 1 << chance.randrange(8)
    return bytes(mutant)


def _zeros(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    at = chance.randrange(_scan_begin(data), _end(data) - 512)
    mutant[at : at + 512] = bytes(512)
    return bytes(mutant)


def _noise_anywhere(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chance.randrange(1, 20)):
        mutant[chance.randrange(len(mutant))] = chance.randrange(256)
    return bytes(mutant)


def _noise_in_head(data: bytes, chance: random.Random) -> bytes:
    mutant = bytearray(data)
    for _ in range(chance.randrange(1, 30)):
        mutant[chance.randrange(2, min(2000, len(mutant)))] = chance.choice((0, 1, 2, 127, 128, 254, 255))
    return bytes(mutant)


def _cut(data: bytes, chance: random.Random) -> bytes:
    """The file ends at a marker, or anywhere."""
    last = _end(data)
    markers = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", data[:last])]
    at = chance.choice(markers) + chance.choice((0, 1, 2, 4)) if chance.random() < 0.7 else chance.randrange(last)
    return data[: min(at, last + 1)]


def _hole(data: bytes, chance: random.Random) -> bytes:
    """Bytes are missing in the middle, as after a lost packet."""
    begin = chance.randrange(_scan_begin(data), _end(data) - 10)
    return data[:begin] + data[begin + chance.randrange(1, len(data) - begin) :]


WAYS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip,
    _zeros,
    _noise_anywhere,
    _noise_in_head,
    _cut,
    _hole,
)


def test_mutated_frames(frames: list[bytes], report: Callable[[Tally], None]) -> None:
    chance = random.Random(11)
    whole = {
        data: frame.decode(data, SIDE_PX).pixels.astype(np.int16)
        for data in chance.sample(frames, min(60, len(frames)))
    }
    originals = list(whole)
    seen: Counter[str] = Counter()
    slowest_s = 0.0
    for number in range(INPUTS):
        way = WAYS[number % len(WAYS)]
        data = chance.choice(originals)
        mutant = way(data, chance)
        began = time.process_time()
        try:
            decoded = frame.decode(mutant, SIDE_PX)
        except frame.BadFrame:
            seen[f"{way.__name__} refused"] += 1
            decoded = None
        slowest_s = max(slowest_s, time.process_time() - began)
        if decoded is None:
            if way in (_flip, _zeros) and _passes_decoder(mutant):
                seen[f"{way.__name__} refused by signs of damage"] += 1
            continue
        seen[f"{way.__name__} accepted"] += 1
        assert _END in mutant
        assert _passes_decoder(mutant)
        iso_utc(capture_time(decoded.exif, 0.0, None, datetime.now(UTC)).at)
        assert way is not _cut, "an incomplete file was accepted"
        change = decoded.pixels.astype(np.int16)
        if change.shape == whole[data].shape and np.abs(change - whole[data]).mean() >= _HURT_LEVELS:
            seen[f"{way.__name__} accepted and changed"] += 1
    assert slowest_s < HANG_S
    words = [
        f"{name}: {seen[f'{key} accepted']} of {seen[f'{key} accepted'] + seen[f'{key} refused']} accepted, "
        f"{seen[f'{key} accepted and changed']} of them visibly changed, "
        f"{seen[f'{key} refused by signs of damage']} refused by signs of damage alone"
        for name, key in (("bit flips", "_flip"), ("zeroed blocks", "_zeros"))
    ]
    report(Tally("mutated JPEGs", INPUTS, INPUTS, 0, 0, f"slowest {1000 * slowest_s:.0f} ms; {'; '.join(words)}"))


def _other_formats(data: bytes) -> dict[str, bytes]:
    """One small frame in every accepted format and mode other than a baseline colour JPEG."""
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB").resize((320, 240))
    modes = {"PNG": ("RGB", "P", "RGBA"), "BMP": ("RGB", "P"), "WEBP": ("RGB", "RGBA"), "JPEG": ("CMYK", "L")}
    ways: list[tuple[str, str, dict[str, Any]]] = [(name, mode, {}) for name, many in modes.items() for mode in many]
    ways += [("WEBP", "RGB", {"lossless": True}), ("JPEG", "RGB", {"progressive": True})]
    compressions = (None, "tiff_lzw", "tiff_deflate", "jpeg", "packbits")
    ways += [("TIFF", "RGB", {"compression": name}) for name in compressions]
    return {
        f"{name} {mode} {options}": encoded(np.asarray(image), name, mode, **options) for name, mode, options in ways
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
def test_mutated_files_of_other_formats(
    frames: list[bytes], report: Callable[[Tally], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)  # as some packages do that are imported beside
    chance = random.Random(12)
    files = _other_formats(min(frames, key=len))
    slowest_s, accepted = 0.0, 0
    for number in range(OTHERS):
        data = list(files.values())[number % len(files)]
        mutant = bytearray(data)
        way = number // len(files) % 4
        if way == 0:
            mutant[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif way == 1:
            for _ in range(chance.randrange(1, 12)):
                mutant[chance.randrange(4, 400)] = chance.choice((0, 1, 2, 127, 128, 254, 255))
        elif way == 2:
            del mutant[chance.randrange(len(data)) :]
        else:
            begin = chance.randrange(len(data))
            del mutant[begin : begin + chance.randrange(1, len(data) - begin + 1)]
        began = time.process_time()
        try:
            frame.decode(bytes(mutant), SIDE_PX)
        except frame.BadFrame:
            pass
        else:
            accepted += 1
            assert way != 2, "an incomplete file was accepted"
        slowest_s = max(slowest_s, time.process_time() - began)
    assert slowest_s < HANG_S
    note = f"{accepted} accepted, no cut one among them; slowest {1000 * slowest_s:.0f} ms"
    report(Tally("mutated PNG, TIFF, WebP, BMP, other JPEG", OTHERS, OTHERS, 0, 0, note))


def _passes_decoder(data: bytes) -> bool:
    """Whether the strict decoder accepts it at full size."""
    try:
        simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return False
    return True


def test_no_intact_frame_is_taken_for_a_damaged_one(field_frames: list[Path]) -> None:
    for path in field_frames:
        data = path.read_bytes()
        assert frame.decode(data, SIDE_PX).doubt is None, path.name
