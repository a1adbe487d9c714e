"""One strange file among others: whatever is wrong with it, or goes wrong over it, every other frame is logged."""

import os
import random
import sqlite3
import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from errno import EIO, EMFILE, ENAMETOOLONG, ENOMEM, ETIMEDOUT
from functools import wraps
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge.commands import classify
from edge.commands.classify import main
from edge.database.frame_result import FailedFile
from edge.database.store import Store
from edge.image import decode as decode_module
from edge.service import frame_processor
from edge.service.console import Console
from edge.service.frame_processor import FrameProcessor
from tests.support.daemon_process import Tally
from tests.support.made_images import noisy_jpeg
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
    "store": (Store, "_record"),
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
