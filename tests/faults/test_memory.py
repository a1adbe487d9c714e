"""Attacks on memory: files that take a decoder far more than they weigh, one by one, side by side, and mutated."""

import random
import struct
import zlib
from pathlib import Path

import pytest

from tests.support.costly_images import BY_SIZE, camera_jpeg, flat_jpeg, png, png_chunk, tiff, with_segments
from tests.support.daemon_process import Tally
from tests.support.peak_memory import Run, classify_once
from tests.support.requirements import LONG

LIMIT_MB = 350
LIMIT_CPU_S = 60
MUTANTS = 600 if LONG else 40
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WebP": ".webp", "BMP": ".bmp"}
_SIZES = ((4000, 3000), (6000, 4000), (8000, 6000), (10000, 7900))


def _named(kind: str, data: bytes, number: int = 0) -> tuple[str, bytes]:
    return f"{kind.replace(' ', '-').replace(':', '').replace(',', '')}-{number}{_SUFFIXES[kind.split()[0]]}", data


def _run(files: list[tuple[str, bytes]], tmp_path: Path, *options: str) -> Run:
    folder = tmp_path / "frames"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files:
        (folder / name).write_bytes(data)
    runs = len(list(tmp_path.glob("run*")))
    run = classify_once(folder, tmp_path / f"run{runs}", *options)
    assert run.peak_mb < LIMIT_MB, (run, files[0][0])
    assert run.cpu_s < LIMIT_CPU_S, (run, files[0][0])
    reasons = {reason for _, reason in run.logged.values()}
    assert "crashed_decoder" not in reasons
    assert "internal_error" not in reasons
    return run


def test_costly_frames_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each alone just fits; on four threads they wait for each other's room, and all are logged."""
    files = [
        _named("PNG RGB", png(2, 8)(6000, 5600)),
        _named("JPEG progressive 444", flat_jpeg(process=0xC2, bands=1)(6000, 4000)),
        _named("JPEG progressive CMYK", flat_jpeg((0x11,) * 4, 0xC2, 1)(4600, 3450)),
        _named("TIFF one strip", tiff()(4480, 3360)),
        _named("BMP", BY_SIZE["BMP"](4400, 3600)),
        _named("WebP", BY_SIZE["WebP"](4000, 3000)),
        _named("JPEG with a film behind it", camera_jpeg(4000, 3000) + random.Random(0).randbytes(40_000_000)),
        _named("JPEG 64 MP", flat_jpeg()(9248, 6936)),
    ]
    for threads in ("2", "4") if LONG else ("4",):
        run = _run(files, tmp_path, "--threads", threads)
        assert {status for status, _ in run.logged.values()} == {"classified"}, run
        assert len(run.logged) == len(files)
        with capsys.disabled():
            print(f"\ncostly frames on {threads} threads: {len(files)} classified, peak {run.peak_mb:.0f} MB")


@pytest.mark.faults_long
@pytest.mark.parametrize("kind", BY_SIZE)
def test_each_kind_at_each_size(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one cannot have is too_large: these files are whole."""
    parts = []
    for width, height in _SIZES:
        run = _run([_named(kind, BY_SIZE[kind](width, height))], tmp_path)
        ((status, reason),) = run.logged.values()
        assert status == "classified" or reason == "too_large"
        parts.append(f"{width * height / 1e6:.0f} MP {run.peak_mb:.0f} MB {run.cpu_s:.1f} s {reason or status}")
    with capsys.disabled():
        print(f"\n{kind}: {'; '.join(parts)}")


def _mutated(data: bytes, kind: str, chance: random.Random) -> bytes:
    """Larger numbers where the size is said, a cut, or noise in the headers."""
    mutant = bytearray(data)
    what = chance.random()
    if what < 0.4:
        _claim_more(mutant, kind, chance)
    elif what < 0.6:
        del mutant[chance.randrange(len(mutant) // 2, len(mutant)) :]
    for _ in range(chance.randrange(4) if what > 0.3 else 0):
        mutant[chance.randrange(min(len(mutant), 400))] = chance.randrange(256)
    return bytes(mutant)


def _claim_more(mutant: bytearray, kind: str, chance: random.Random) -> None:
    width, height = (chance.choice((8_000, 16_000, 30_000, 65_500)) for _ in range(2))
    if kind.startswith("PNG"):
        mutant[16:24] = struct.pack(">II", width, height)
        mutant[29:33] = struct.pack(">I", zlib.crc32(mutant[12:29]))
    elif kind.startswith("JPEG"):
        at = max(mutant.find(bytes((0xFF, marker, 0, length))) for marker in (0xC0, 0xC2) for length in (11, 17, 20))
        mutant[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind.startswith("BMP"):
        mutant[18:26] = struct.pack("<ii", width, height)
    elif kind.startswith("WebP"):
        mutant[24:30] = (width % 16384 - 1).to_bytes(3, "little") + (height % 16384 - 1).to_bytes(3, "little")
    else:
        at = struct.unpack_from("<I", mutant, 4)[0] + 2
        mutant[at + 8 : at + 12], mutant[at + 20 : at + 24] = (struct.pack("<I", side) for side in (width, height))


def test_mutated_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(22)
    kinds = sorted(BY_SIZE)
    sources = {kind: BY_SIZE[kind](chance.choice((640, 1600)), chance.choice((480, 1200))) for kind in kinds}
    peak, counts = 0.0, dict[str, int]()
    for start in range(0, MUTANTS, 40):
        files = []
        for number in range(start, start + 40):
            kind = chance.choice(kinds)
            files.append(_named(kind, _mutated(sources[kind], kind, chance) + struct.pack(">I", number), number))
        run = _run(files, tmp_path)
        assert len(run.logged) == len(files)
        peak = max(peak, run.peak_mb)
        for status, reason in run.logged.values():
            counts[reason or status] = counts.get(reason or status, 0) + 1
    with capsys.disabled():
        print(f"\n{Tally('mutated costly files', MUTANTS, MUTANTS, 0, 0)}; {counts}, peak {peak:.0f} MB")


def test_metadata_that_unpack_to_more_than_the_image(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(100_000_000), 1)
    texts = b"".join(png_chunk(b"zTXt", b"%d\0\0" % number + zlib.compress(bytes(1_000_000))) for number in range(30))
    files = [
        _named("PNG profile", png(2, 8, extra=png_chunk(b"iCCP", b"a\0\0" + bomb) + texts)(640, 480)),
        _named("JPEG EXIF", with_segments(camera_jpeg(640, 480), 0xE1, [b"Exif\0\0II*\0" + bytes(60_000)] * 300)),
        _named("JPEG profiles", with_segments(camera_jpeg(800, 600), 0xE2, [b"ICC" + bytes(60_000)] * 300)),
        _named("TIFF tiles", tiff(tile_px=16, compression=1)(4000, 3000)),
    ]
    run = _run(files, tmp_path)
    assert {status for status, _ in run.logged.values()} == {"classified"}, run
