"""One strange file among others: whatever is wrong with it, or goes wrong over it, every other frame is logged."""

import io
import os
import random
import sqlite3
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from errno import EIO, EMFILE, ENAMETOOLONG, ENOMEM, ETIMEDOUT
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import pytest
from PIL import Image

from edge.capture.files import FileState
from edge.commands import classify
from edge.commands.classify import main
from edge.database.frame_result import FailedFile
from edge.database.frame_rows import FrameRows
from edge.image import decode as decode_module
from edge.image.decode import BadFrame, decode
from edge.service import frame_processor
from edge.service.console import Console
from edge.service.crash_guard import TrialProcess
from edge.service.frame_processor import FrameProcessor
from edge.settings.options import Settings
from edge.version import __version__
from edge.vocabulary import FileReason
from tests.support.daemon_process import Tally
from tests.support.made_images import noisy_jpeg
from tests.support.made_jpeg import sampled_jpeg
from tests.support.requirements import LONG
from tests.support.signal_handlers import keep_signals

SEED = 22
CASES = None if LONG else 14
ERRORS: tuple[BaseException, ...] = (
    *(Exception("plain"), KeyError(6), IndexError(), ValueError("\x00\x1b[31m"), TypeError(), AttributeError("x")),
    *(
        OverflowError("Python int too large"),
        ZeroDivisionError(),
        FloatingPointError(),
        MemoryError(),
        RecursionError(),
    ),
    *(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogate"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "byte")),
    *(StopIteration(1), StopAsyncIteration(), EOFError(), SyntaxError("tag"), NotImplementedError(), AssertionError()),
    *(RuntimeError("onnx"), ReferenceError(), BufferError(), ImportError(), NameError(), SystemError(), UserWarning()),
    *(struct.error("unpack"), zlib.error("-3"), cv2.error("decode"), sqlite3.IntegrityError("x"), SystemExit(3)),
    *(
        sqlite3.ProgrammingError("closed"),
        sqlite3.InterfaceError("x"),
        sqlite3.DataError("too big"),
        EOFError("x" * 9999),
    ),
    *(OSError(EIO, "I/O"), OSError(ENOMEM, "memory"), OSError(EMFILE, "files"), OSError(ENAMETOOLONG, "name")),
    *(TimeoutError(ETIMEDOUT, "timed out"), ConnectionResetError(), BrokenPipeError(), FileNotFoundError(2, "gone")),
    *(
        PermissionError(13, "rights"),
        IsADirectoryError(21, "folder"),
        InterruptedError(4, "signal"),
        ExceptionGroup("e", [KeyError()]),
    ),
)
MARK = b"STRANGE"
STRANGE = "5-strange.jpg"
OF_THE_FILE = {
    "read": (frame_processor, "read_bytes"),
    "digest": (frame_processor, "digest"),
    "state": (frame_processor, "file_state"),
    "decode": (frame_processor, "decode"),
    "image digest": (frame_processor, "image_digest"),
    "recognise": (frame_processor, "recognise"),
    "infer": (FrameProcessor, "_note_detail"),
    "period": (FrameProcessor, "_conclude"),
    "again": (FrameProcessor, "again_after_others"),
    "store": (FrameRows, "record"),
    "EXIF": (decode_module, "read_jpeg_exif"),
    "announce": (Console, "__call__"),
}
HARMLESS = ("EXIF", "announce")
"""Steps whose failure leaves a whole frame."""
Case = tuple[str, BaseException]


def _cases() -> list[Case]:
    """Every error at every step; the database's own troubles make everything wait, and are tried elsewhere."""
    cases = [(step, error) for step in OF_THE_FILE for error in ERRORS]
    chosen = cases if CASES is None else random.Random(SEED).sample(cases, CASES)
    return [*chosen, *(("store", error) for error in (OverflowError(), SystemExit(1)) if not LONG)]


def _is_strange(value: object) -> bool:
    if isinstance(value, bytes):
        return value.endswith(MARK)
    path = getattr(getattr(value, "file", value), "path", value)
    return isinstance(path, str | Path) and str(path).endswith(STRANGE)


def _raising(real: Callable[..., Any], error: BaseException, step: str) -> Callable[..., Any]:
    @wraps(real)
    def wrapped(*given: Any, **named: Any) -> Any:
        failed = step == "store" and any(isinstance(one, FailedFile) for one in given)
        if not failed and any(map(_is_strange, given)):
            raise error
        return real(*given, **named)

    return wrapped


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    folder = tmp_path / "captures"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(noisy_jpeg(seed))
    (folder / STRANGE).write_bytes(noisy_jpeg(11) + MARK)
    old = time.time() - 10_000  # a file that has been still for long is given up at once
    for path in folder.iterdir():
        os.utime(path, (old, old))
    return folder


def _rows(database: Path) -> dict[str, tuple[str, str | None]]:
    if not database.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT path, status, reason FROM media").fetchall()
    except sqlite3.DatabaseError:
        return {}
    return {Path(path).name: (status, reason) for path, status, reason in found}


def _run(captures: Path, database: Path, model: Path, watch: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    given = ["--db", str(database), "--model", str(model), "--min-free-bytes", "0", "-q", "--threads", "2"]
    if not watch:
        with keep_signals():
            return main([str(captures), *given])
    stop = threading.Event()
    monkeypatch.setattr(classify, "_stop_on_signals", lambda _quiet: stop)
    seen = threading.Thread(target=lambda: _stop_when_done(database, stop))
    seen.start()
    with keep_signals():
        code = main(["--watch", str(captures), *given, "--settle-s", "0.05", "--give-up-s", "0.2"])
    seen.join()
    return code


def _stop_when_done(database: Path, stop: threading.Event) -> None:
    end = time.monotonic() + 20
    if _rows(database):
        stop.wait(1.5)  # its rows are there already; give it the time to look at every file
    while time.monotonic() < end and not stop.wait(0.05):
        rows = _rows(database)
        if len(rows) >= 11 and all(status != "pending" for status, _ in rows.values()):
            break
        if len(rows) == 10 and STRANGE not in rows and time.monotonic() > end - 18.5:
            break
    stop.set()


def _expected(step: str, error: BaseException) -> tuple[str, str | None] | None:
    if step in HARMLESS:
        return "classified", None
    if step == "read" and isinstance(error, OSError):
        if isinstance(error, FileNotFoundError):
            return None
        return "unreadable", "permission" if isinstance(error, PermissionError) else "corrupt"
    return "unreadable", "internal_error"


@pytest.mark.parametrize("watch", [False, True], ids=["one-shot", "daemon"])
def test_an_error_of_any_type_at_any_step(
    tmp_path: Path,
    captures: Path,
    tiny_model: Path,
    watch: bool,
    report: Callable[[Tally], None],
) -> None:
    others = {f"{seed}.jpg" for seed in range(10)}
    cases, held = _cases(), 0
    for number, (step, error) in enumerate(cases):
        if step == "EXIF" and not isinstance(error, Exception):
            continue  # a reader of EXIF that ends the process would be believed
        database = tmp_path / f"{number}.db"
        with pytest.MonkeyPatch.context() as patch:
            place, name = OF_THE_FILE[step]
            patch.setattr(place, name, _raising(getattr(place, name), error, step))
            code = _run(captures, database, tiny_model, watch, patch)
        rows = _rows(database)
        what = f"{step}: {error!r}: {rows}"
        assert {name for name, row in rows.items() if row == ("classified", None)} >= others, what
        assert rows.get(STRANGE) == _expected(step, error), what
        assert code == (0 if watch or rows.get(STRANGE) in (None, ("classified", None)) else 1), what
        held += 1
    report(Tally(f"errors of any type at any step ({'daemon' if watch else 'one-shot'})", held, held, 0, 0))


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _exif_jpeg(seed: int, change: Callable[[bytearray, random.Random], None]) -> bytes:
    """A frame whose EXIF block is damaged on purpose; its image data stay whole."""
    chance = random.Random(seed)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[29] = "2024:05:06"
    out = io.BytesIO()
    Image.open(io.BytesIO(noisy_jpeg(seed))).save(out, "JPEG", exif=exif)
    data = bytearray(out.getvalue())
    begin = data.find(b"Exif\0\0") + 6
    block = data[begin : begin + len(exif.tobytes()) - 6]
    change(block, chance)
    return bytes(data[:begin] + block + data[begin + len(block) :])


def _noise(block: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 12)):
        block[chance.randrange(len(block))] = chance.choice((0, 1, 2, 3, 5, 7, 12, 127, 128, 254, 255))


def _itself(block: bytearray, chance: random.Random) -> None:
    """Folders that contain themselves, enormous counts."""
    at = chance.randrange(8, len(block) - 4)
    block[at : at + 4] = chance.choice((b"\x08\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08", b"\xff\xff\xff\x7f"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged tags
def test_whole_frames_with_strange_surroundings_are_classified(
    tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None]
) -> None:
    """Times beyond what a column can hold, and EXIF that cannot be read."""
    folder = tmp_path / "captures"
    folder.mkdir()
    times_s = (2**33, 9_223_372_037, 2**34, 2**40, 2**62, -1, -(2**31), -(2**40), -9_223_372_037, 253_402_300_800)
    for number, time_s in enumerate(times_s):
        path = _written(folder, f"time{number}.jpg", noisy_jpeg(number))
        with suppress(OSError, OverflowError):
            os.utime(path, (0, time_s))
    for seed in range(1_000 if LONG else 60):
        _written(folder, f"exif{seed}.jpg", _exif_jpeg(seed, (_noise, _itself)[seed % 2]))
    database = tmp_path / "d.db"
    with keep_signals():
        given = ["--db", str(database), "--model", str(tiny_model), "--min-free-bytes", "0", "-q"]
        assert main([str(folder), *given]) == 0
        assert main([str(folder), *given]) == 0
    rows = _rows(database)
    assert rows == dict.fromkeys((path.name for path in folder.iterdir()), ("classified", None))
    with closing(sqlite3.connect(database)) as connection:
        (undoubted,) = connection.execute(
            "SELECT count(*) FROM media WHERE path LIKE '%time%' AND clock_doubt IS NULL"
        ).fetchone()
        beyond = connection.execute("SELECT count(*) FROM file WHERE typeof(mtime_ns) <> 'integer'").fetchone()
    assert (undoubted, beyond) == (0, (0,))
    report(Tally("whole frames with times and EXIF beyond all ranges", len(rows), len(rows), 0, 0))


def test_jpegs_of_every_chroma_sampling_are_decoded_or_told_truly(report: Callable[[Tally], None]) -> None:
    factors = list(product(range(1, 5), range(1, 5)))
    chance = random.Random(SEED)
    cases = [[one] for one in factors] + [[one, (1, 1), (1, 1)] for one in factors] + [[(1, 1)] * 4, [(2, 2)] * 4]
    cases += [[chance.choice(factors) for _ in range(3)] for _ in range(2_000 if LONG else 100)]
    said: Counter[str] = Counter()
    for case in cases:
        if sum(across * down for across, down in case) > 10:
            continue  # the format allows no more blocks in a unit
        try:
            frame = decode(sampled_jpeg(case), name="x.jpg")
        except BadFrame as bad:
            said["told"] += 1
            told_truly = bad.reason == FileReason.UNSUPPORTED_FORMAT and "chroma sampling" in bad.detail
            said["told falsely"] += not told_truly
        else:
            assert (frame.width_px, frame.height_px) == (96, 64)
            said["decoded"] += 1
    assert said["decoded"] >= 20
    assert said["told falsely"] == 0
    whole = sampled_jpeg([(2, 2), (1, 1), (1, 1)])
    header = whole.find(b"\xff\xc0") + 4
    for place, byte in product((0, 5, *range(7, 15, 3)), range(256)):
        patched = bytearray(whole)
        patched[header + place] = byte
        with suppress(BadFrame):
            decode(bytes(patched), name="x.jpg")
        said["patched"] += 1
    note = f"{said['decoded']} samplings decoded, {said['told']} told, {said['patched']} patched headers"
    report(Tally("JPEGs of every chroma sampling", said.total(), said.total(), 0, 0, note))


def test_the_sampling_that_once_was_told_as_a_hang(tmp_path: Path, tiny_model: Path) -> None:
    """After a crash, frames go on trial: an error is no hang, and the daemon meets it as the file's own."""
    data = bytearray(sampled_jpeg([(2, 2), (1, 1), (1, 1)]))
    data[data.find(b"\xff\xc0") + 11] = 0x14
    path = _written(tmp_path, "odd.jpg", bytes(data))
    trial = TrialProcess(Settings(model=tiny_model))
    try:
        assert trial.fault(str(path)) is None
    finally:
        trial.close()


def test_an_internal_error_is_tried_again_by_another_version(
    tmp_path: Path, captures: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, tries, running = tmp_path / "d.db", [], __version__

    def failing(self: FrameProcessor, file: FileState) -> Any:
        if file.path.endswith(STRANGE):
            tries.append(file.path)
            if running != "9.9":
                raise KeyError(6)
        return process(self, file)

    process = FrameProcessor.process
    monkeypatch.setattr(FrameProcessor, "process", failing)
    for running, tried in ((__version__, 1), (__version__, 1), ("9.8", 2), ("9.8", 2), ("9.9", 3), ("9.9", 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edge.database.store.__version__", running)
            _run(captures, database, tiny_model, True, patch)
        expected = ("classified", None) if running == "9.9" else ("unreadable", "internal_error")
        assert (len(tries), _rows(database)[STRANGE]) == (tried, expected), running
