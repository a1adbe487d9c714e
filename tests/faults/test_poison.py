"""Attacks by content: frames that crash or hang the decoder, bad models, files that are no images."""

import io
import os
import shutil
import signal
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.capture import files
from edge.capture.files import files_below
from edge.host.safe_output import SafeOutput
from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until
from tests.support.requirements import LONG
from tests.support.start_hook import start_hook
from tests.support.tiny_model import tiny_card, write_tiny_model

CHUNK = files.CHUNK if LONG else 2_000
# For one kind of frame the decoder behaves as one with a bug would: no frame is known that really crashes it.
_SABOTAGE = """
import os, signal, threading
import simplejpeg

decode = simplejpeg.decode_jpeg

def sabotaged(data, *arguments, **named):
    if b"CRASH" in bytes(data[-9:]):
        os.kill(os.getpid(), signal.SIGSEGV)
    if b"HANG" in bytes(data[-9:]):
        threading.Event().wait()
    return decode(data, *arguments, **named)

simplejpeg.decode_jpeg = sabotaged
"""


def test_frames_that_crash_or_hang_the_decoder(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    limits = {"edge.service.crash_guard.HANG_S": 2, "edge.service.pipeline.HANG_S": 2}
    daemon = DaemonProcess(tmp_path, tiny_model, environment=start_hook(tmp_path / "hook", limits, _SABOTAGE))
    daemon.captures.mkdir()
    good = sorted(frames, key=len)[:20]
    for number, data in enumerate(good):
        (daemon.captures / f"{number:02}.jpg").write_bytes(data)
    (daemon.captures / "05-crash.jpg").write_bytes(good[5] + b"CRASH")
    (daemon.captures / "12-hang.jpg").write_bytes(good[6] + b"HANG")
    whole = {digest(data) for data in good}
    starts = 0
    daemon.start()
    while True:  # what Restart=on-failure does
        starts += 1
        assert starts < 6, daemon.log
        wait_until(lambda: daemon.has_ended or whole <= set(daemon.classified()), 60, daemon.log)
        if not daemon.has_ended:
            break
        daemon.start()
    marked = "SELECT reason, status, attempts FROM media WHERE status <> 'classified' ORDER BY path"
    wait_until(lambda: len(daemon.query(marked)) == 2, 60, daemon.log)
    assert daemon.query(marked) == [("crashed_decoder", "unreadable", 3), ("crashed_decoder", "unreadable", 3)]
    copy = daemon.captures / "99-copy.jpg"
    shutil.copyfile(daemon.captures / "05-crash.jpg", copy)
    wait_until(lambda: len(daemon.query(marked)) == 3 or daemon.has_ended, 60, daemon.log)
    assert not daemon.has_ended
    daemon.stop()
    report(Tally.of("a frame that crashes and one that hangs the decoder", 2, whole, daemon, f"{starts} starts"))


def test_a_model_that_is_replaced_while_the_daemon_runs(
    tmp_path: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    daemon = DaemonProcess(tmp_path, model)
    daemon.captures.mkdir()
    chosen = iter(sorted(frames, key=len))
    whole: set[str] = set()

    def arrive(count: int) -> None:
        for _ in range(count):
            data = next(chosen)
            (daemon.captures / f"{len(whole):03}.jpg").write_bytes(data)
            whole.add(digest(data))
        daemon.wait_for(whole)

    daemon.start()
    arrive(3)
    bad = [b"no model", write_tiny_model(tmp_path / "nan", tiny_card(version="3"), sharpness=float("nan")).read_bytes()]
    bad.append(write_tiny_model(tmp_path / "numb", tiny_card(version="4"), sharpness=0.0).read_bytes())
    for number, content in enumerate(bad, 1):
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(model)
        if number > 1:  # else it notices by itself
            assert daemon.process is not None
            os.kill(daemon.process.pid, signal.SIGHUP)
        daemon.wait_for_log("the old one goes on", number)
        arrive(2)
    assert daemon.query("SELECT DISTINCT classified_by FROM observation") == [("tiny 1",)]
    write_tiny_model(tmp_path / "new", tiny_card(version="2"), seed=2).replace(model)
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_for_log("tiny 2 from now on")
    arrive(3)
    daemon.stop()
    assert daemon.query("SELECT classified_by, count(*) FROM observation GROUP BY 1") == [("tiny 1", 9), ("tiny 2", 3)]
    assert daemon.query("SELECT count(*) FROM run WHERE ended_at IS NULL") == [(0,)]
    report(Tally.of("models replaced: two that answer nonsense, one no model, one good", 4, whole, daemon))


def _png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x08\x02\x00\x00\x00")
        + chunk(b"IDAT", b"")
        + chunk(b"IEND", b"")
    )


def test_a_folder_full_of_hostile_things(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    chosen = sorted(frames, key=len)[:8]
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(chosen[7])
    folder = daemon.captures
    names = [
        b"x" * 251 + b".jpg",
        b"not-utf8-\xff\xfe.jpg",
        b"new\nline\x1b[31m\x07.jpg",
        "ünï 🦊.JPG".encode(),
        b"-rf.jpg",
    ]
    for name, data in zip(names, chosen, strict=False):
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_bytes(data)
    deep = folder / "/".join(["d" * 60] * 60)
    deep.mkdir(parents=True)
    (deep / "deep.jpg").write_bytes(chosen[5])
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jpg"))
    if os.geteuid() == 0:
        os.mknod(folder / "device.jpg", 0o20666, os.makedev(1, 5))  # /dev/zero, which never ends
    (folder / "loop").symlink_to(folder)
    (folder / "out.jpg").symlink_to(outside)
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "empty.jpg").touch()
    (folder / "bomb.png").write_bytes(_png_header(100_000, 100_000))
    (folder / "notes.txt").write_bytes(b"no image")
    with (folder / "film.mp4").open("wb") as film:
        film.truncate(20_000_000_000)  # takes no room
    with (folder / "enormous.jpg").open("wb") as enormous:
        enormous.write(chosen[0][:100])
        enormous.truncate(20_000_000_000)
    (folder / "folder.jpg").mkdir()
    whole = {digest(data) for data in chosen[:6]}
    daemon.start("--give-up-s", "1", "-v")
    daemon.wait_for(whole)
    refused = "SELECT reason, count(*) FROM media WHERE status IN ('unreadable', 'unsupported') GROUP BY 1 ORDER BY 1"
    expected = [("empty", 1), ("too_large", 2), ("unsupported_format", 2)]
    wait_until(lambda: daemon.query(refused) == expected, 30, f"{expected}, there is {daemon.query(refused)}")
    daemon.stop()
    said = daemon.log + (tmp_path / "daemon.out").read_text("utf-8", "replace")
    assert "\x1b" not in said
    assert "\x07" not in said
    report(Tally.of("hostile names, links, pipes, devices, bombs, a film of 20 GB", len(names) + 12, whole, daemon))


def test_a_million_files_need_no_more_memory_than_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder's listing; the long form measures the whole daemon."""
    monkeypatch.setattr(files, "CHUNK", CHUNK)
    for number in range(3 * CHUNK):
        (tmp_path / f"{number:07}.jpg").touch()
    tracemalloc.start()
    count = sum(1 for _ in files_below(str(tmp_path)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3 * CHUNK
    assert peak_bytes < 700 * CHUNK


@pytest.mark.parametrize("broken", [OSError("No space left on device"), BrokenPipeError()])
def test_a_reader_that_goes_away_does_not_stop_the_work(broken: OSError) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise broken

    output = SafeOutput(Gone())
    output.write("a line")
    output.write("another")
