"""What a file would take to decode is known before, and frames in hand share what there is."""

import random
import struct
import threading
import time
import zlib

import pytest
from PIL import Image

from edge.image.containers.jpeg_segments import segments
from edge.image.decode import BadFrame, decode
from edge.image.exif import read_exif, read_jpeg_exif
from edge.image.memory_limit import DECODER_BYTES, FILE_BYTES, MemoryBudget
from tests.support.costly_images import (
    BY_SIZE,
    camera_jpeg,
    flat_jpeg,
    png,
    png_chunk,
    tiff,
    tiff_directory,
    with_segments,
)
from tests.support.made_images import encoded, scenery

SIDE_PX = 512


class Reserved(Exception):
    """Decoding was about to begin."""


def needed(data: bytes) -> int:
    found: list[int] = []

    def stop(bytes_: int) -> None:
        found.append(bytes_)
        raise Reserved

    with pytest.raises(Reserved):
        decode(data, SIDE_PX, reserve=stop)
    return found[0]


def refused(data: bytes) -> BadFrame:
    with pytest.raises(BadFrame) as caught:
        decode(data, SIDE_PX, reserve=lambda bytes_: pytest.fail("it was about to be decoded"))
    return caught.value


@pytest.mark.parametrize("kind", BY_SIZE)
def test_every_kind_is_decoded_when_it_is_small(kind: str) -> None:
    frame = decode(BY_SIZE[kind](320, 240))
    assert sorted((frame.width_px, frame.height_px)) == [240, 320]
    assert frame.pixels.shape == (frame.height_px, frame.width_px, 3)


def test_a_cameras_frames_are_let_in() -> None:
    """Baseline of 64 MP and more, progressive of 24 MP, PNG and TIFF of 24 MP."""
    assert needed(flat_jpeg()(9248, 6936)) < DECODER_BYTES / 2
    for factors in ((0x11,) * 3, (0x21, 0x11, 0x11), (0x22, 0x11, 0x11)):
        assert needed(flat_jpeg(factors, 0xC2, 1)(6000, 4000)) <= DECODER_BYTES
    assert needed(png(2, 8)(6000, 4000)) <= DECODER_BYTES
    assert needed(tiff(rows=16)(6000, 4000)) <= DECODER_BYTES


@pytest.mark.parametrize(
    "data",
    [
        flat_jpeg((0x11,) * 4, 0xC2, 1)(8000, 6000),
        flat_jpeg(bands=1)(8000, 6000),
        flat_jpeg()(65500, 1000),
        flat_jpeg()(60000, 20000),
        tiff(rows=16)(9000, 6000),
        tiff()(6000, 5000),
        tiff(tile_px=8192)(64, 64),
        tiff(rows=1)(8, 100_001),
    ],
)
def test_a_whole_but_costly_frame_is_too_large(data: bytes) -> None:
    bad = refused(data)
    assert bad.reason == "too_large", bad


def test_too_many_parts_are_too_large() -> None:
    image = png(2, 8)(64, 48)
    at = image.index(b"IDAT") - 4
    assert refused(image[:at] + png_chunk(b"IDAT", b"") * 200_000 + image[at:]).reason == "too_large"
    page = tiff_directory(0, {tag: (3, [1]) for tag in range(256, 306)})
    pages = b"".join(
        page[:-4] + struct.pack("<I", 8 + (number + 1) * len(page) if number < 4999 else 0) for number in range(5000)
    )
    assert refused(b"II*\0\x08\0\0\0" + pages).reason == "too_large"


@pytest.mark.parametrize("size", [(60000, 60000), (9000, 6000), (40_000_000, 1), (1, 40_000_000)])
def test_a_declared_size_costs_nothing(size: tuple[int, int]) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 16, 6, 0, 0, 1))
    image = png(2, 8)(8, 8)
    assert refused(image[:8] + header + image[33:]).reason == "too_large"


def test_many_scans_of_a_large_image_are_too_large_and_of_a_small_one_not() -> None:
    assert refused(flat_jpeg(process=0xC2, bands=63)(6000, 4000)).reason == "too_large"
    assert decode(flat_jpeg(process=0xC2, bands=63)(640, 480)).width_px == 640


def test_a_film_behind_the_image_counts_as_no_scans() -> None:
    """Telephones append one; by chance it holds what looks like hundreds of scan headers."""
    assert decode(camera_jpeg(640, 480) + b"\xff\xda" * 500).width_px == 640


def test_texts_and_profiles_of_a_png_are_not_unpacked() -> None:
    bomb = zlib.compress(bytes(30_000_000))
    texts = png_chunk(b"zTXt", b"a\0\0" + bomb) + png_chunk(b"iCCP", b"a\0\0" + bomb)
    assert decode(png(2, 8, extra=texts)(64, 48)).width_px == 64
    damaged = bytearray(png(2, 8, extra=texts)(64, 48))
    damaged[60] ^= 1
    with pytest.raises(BadFrame, match="checksum"):
        decode(bytes(damaged))


def test_enormous_exif_counts_as_absent() -> None:
    block = b"II*\0\x08\0\0\0" + tiff_directory(8, {306: (4, [1] * 1_000_000)})
    parts = [b"Exif\0\0" + block[at : at + 60_000] for at in range(0, len(block), 60_000)]
    overlapping = struct.pack("<HHII", 40_000, 7, 60_000, 8) + struct.pack("<HHII", 40_001, 7, 60_000, 8)
    many = b"II*\0\x08\0\0\0" + struct.pack("<H", 1000) + overlapping * 500 + bytes(50_000)
    for data in (
        with_segments(encoded(scenery()), 0xE1, parts),
        with_segments(encoded(scenery()), 0xE1, [b"Exif\0\0" + many]),
        png(2, 8, extra=png_chunk(b"eXIf", block))(64, 48),
    ):
        assert decode(data).exif.changed == ("", "", "")


def test_exif_in_two_segments_is_read() -> None:
    exif = Image.Exif()
    exif[0x0132] = "2020:01:02 03:04:05"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    data = with_segments(encoded(scenery()), 0xE1, [b"Exif\0\0" + block[:20], b"Exif\0\0" + block[20:]])
    assert read_jpeg_exif(data).changed[0] == read_exif(data).changed[0] == "2020:01:02 03:04:05"


def test_millions_of_empty_segments_are_no_work() -> None:
    image = encoded(scenery())
    data = image[:2] + b"\xff\xfe\0\2" * 2_000_000 + image[2:]
    begun = time.process_time()
    assert decode(data).width_px == 160
    assert time.process_time() - begun < 3
    with pytest.raises(ValueError, match="segments"):
        list(segments(data))


def test_frames_wait_for_room_and_never_for_each_other() -> None:
    budget = MemoryBudget(threads=2)
    chance = random.Random(0)
    held = {"file": 0, "decoder": 0}
    most = dict(held)
    lock = threading.Lock()

    def note(key: str, bytes_: int) -> None:
        with lock:
            held[key] += bytes_
            most[key] = max(most[key], held[key])

    def work(sizes: list[tuple[int, int]]) -> None:
        for file, decoder in sizes:
            with budget.share() as share:
                share.of_file(file)
                note("file", file)
                for bytes_ in (decoder, decoder // 2):  # decoded once more
                    share.of_decoder(bytes_)
                    note("decoder", bytes_)
                    time.sleep(0.0005)
                    note("decoder", -bytes_)
                note("file", -file)

    def frame() -> tuple[int, int]:
        file = chance.choice((1_000_000, 20_000_000, FILE_BYTES, 90_000_000))
        return file, chance.randrange(DECODER_BYTES - max(0, file - FILE_BYTES) + 1)

    threads = [threading.Thread(target=work, args=([frame() for _ in range(40)],), daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    assert most["decoder"] <= DECODER_BYTES
    assert most["file"] + most["decoder"] <= 2 * FILE_BYTES + 90_000_000 + DECODER_BYTES


def test_a_share_is_given_back_after_an_error() -> None:
    budget = MemoryBudget(threads=1)

    def fail() -> None:
        with budget.share() as share:
            share.of_file(FILE_BYTES)
            share.of_decoder(DECODER_BYTES)
            raise OSError("away")

    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            fail()
