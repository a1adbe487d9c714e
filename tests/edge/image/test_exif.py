"""The fast EXIF reader gives the same values as Pillow, or leaves the frame to Pillow."""

import random
import struct
from pathlib import Path

import pytest
from PIL import Image

from edge.image import decode as frame
from edge.image.exif import UnusualExif, read_exif, read_folders, read_jpeg_exif
from tests.support.made_images import encoded, scenery

TAGS = frozenset({0x0112, 0x010F, 0x0132, 0x9003, 0x9011})


def camera_jpeg(endian: str = "<", orientation: int | None = 6) -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0132] = "Reconyx", "2021:07:01 12:00:00"
    if orientation is not None:
        exif[0x0112] = orientation
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x9011] = "2021:07:01 11:23:54", "+03:00"
    return encoded(scenery(), exif=exif)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_both_folders_are_read(endian: str) -> None:
    outer, inner = read_folders(camera_jpeg(endian), TAGS)
    assert outer == {0x010F: "Reconyx\0", 0x0132: "2021:07:01 12:00:00\0", 0x0112: 6}
    assert inner == {0x9003: "2021:07:01 11:23:54\0", 0x9011: "+03:00\0"}


def test_a_frame_without_exif_has_empty_folders() -> None:
    assert read_folders(encoded(scenery()), TAGS) == ({}, {})


def test_an_orientation_in_xmp_alone_is_left_to_pillow() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    segment = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    bare, turned = (camera_jpeg(orientation=None), camera_jpeg())
    with pytest.raises(UnusualExif):
        read_folders(bare[:2] + segment + bare[2:], TAGS)
    assert frame.decode(bare[:2] + segment + bare[2:]).exif.orientation == 6
    assert read_folders(turned[:2] + segment + turned[2:], TAGS)[0][0x0112] == 6


def test_exif_cut_anywhere_is_refused_or_read_correctly() -> None:
    whole = camera_jpeg()
    for end in range(len(whole) - 1):
        try:
            read_folders(whole[:end], TAGS)
        except UnusualExif:
            continue
        assert b"\xff\xda" in whole[:end]  # all of EXIF is there


def test_damaged_exif_raises_nothing_else() -> None:
    chance, whole = random.Random(0), camera_jpeg()
    begin = whole.index(b"Exif")
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 2, 5))):
            damaged[begin + chance.randrange(200)] = chance.randrange(256)
        try:
            read_folders(bytes(damaged), TAGS)
        except UnusualExif:
            continue


def test_real_frames_read_as_by_pillow(field_frames: list[Path]) -> None:
    for path in field_frames:
        data = path.read_bytes()
        assert read_jpeg_exif(data) == read_exif(data), path.name
