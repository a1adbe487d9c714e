"""The fast EXIF reader gives the same values as Pillow, or leaves the frame to Pillow."""

import io
import random
import struct
from collections.abc import Mapping
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


Tags = Mapping[int, object]


def jpeg_with(outer: Tags, inner: Tags | None = None, gps: Tags | None = None, xmp: str = "") -> bytes:
    exif = Image.Exif()
    for tag, value in outer.items():
        exif[tag] = value
    exif.get_ifd(0x8769).update(inner or {})
    exif.get_ifd(0x8825).update(gps or {})
    data = encoded(scenery(), exif=exif)
    if not xmp:
        return data
    content = b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


EDIT, TAKEN = "2024:11:12 10:00:00", "2017:05:16 17:48:24"


@pytest.mark.parametrize(
    ("data", "tag", "edited"),
    [
        (jpeg_with({0x0132: EDIT}, {0x9003: TAKEN}), "date_time_original", False),
        (jpeg_with({0x0132: EDIT, 0x9003: TAKEN}), "date_time_original", False),  # in the wrong folder
        (jpeg_with({0x0132: EDIT, 0x0131: "Adobe Photoshop 25.0"}, {0x9004: TAKEN}), "digitized", True),
        (jpeg_with({0x0132: EDIT, 0x0131: "Ver 1.02", 0x0112: 1}), "changed", False),
        (jpeg_with({0x0132: EDIT, 0x0131: "GIMP 2.10.34"}), "changed", True),
        (jpeg_with({0x0132: EDIT, 0x000B: "digiKam-8.1.0"}), "changed", True),
        (jpeg_with({0x0132: EDIT, 0x0112: 1}, xmp="<x xmp:ModifyDate='2024-11-12'/>"), "changed", True),
        (jpeg_with({0x0132: EDIT, 0x0112: 1}, xmp="<x dc:creator='Ana'/>"), "changed", False),
    ],
)
def test_the_times_that_a_file_tells(data: bytes, tag: str, edited: bool) -> None:
    exif = read_jpeg_exif(data)
    assert exif == read_exif(data)
    told = {"date_time_original": exif.date_time_original, "digitized": exif.digitized[0], "changed": exif.changed[0]}
    assert told[tag] == (EDIT if tag == "changed" else TAKEN)
    assert exif.edited == edited


def test_the_time_of_satellites_is_read_where_no_other_is_told() -> None:
    gps = {29: "2017:05:16", 7: (14.0, 48.0, 24.0)}
    assert read_jpeg_exif(jpeg_with({}, {}, gps)).gps_time == "2017:05:16 14:48:24"
    assert read_jpeg_exif(jpeg_with({}, {0x9003: "0000:00:00 00:00:00"}, gps)).gps_time == "2017:05:16 14:48:24"
    assert read_jpeg_exif(jpeg_with({}, {0x9003: TAKEN}, gps)).gps_time == ""
    assert read_jpeg_exif(jpeg_with({}, {}, {29: "2017:05:16"})).gps_time == ""


def test_text_after_the_end_of_a_text_is_no_part_of_it() -> None:
    assert read_jpeg_exif(jpeg_with({}, {0x9003: f"{TAKEN}\0rest"})).date_time_original == TAKEN


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_texts_are_one_line_of_bounded_length(format_: str) -> None:
    image, exif, file = Image.new("RGB", (16, 16)), Image.Exif(), io.BytesIO()
    exif[0x0132], exif[0x010F] = "2024:05:01\n" * 1000, "\x1b[2J\nMaker\r\n" * 1000
    image.save(file, format_, exif=exif)
    read = read_jpeg_exif(file.getvalue()) if format_ == "JPEG" else read_exif(file.getvalue())
    for text in (read.camera, read.changed[0]):
        assert text.isprintable()
        assert 10 < len(text) <= 256
