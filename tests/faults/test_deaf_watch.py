"""Attacks on the threads that read the kernel's events, and folders that are too much for them."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemon_process import Burst, DaemonProcess, Tally, wait_until
from tests.support.requirements import LONG
from tests.support.start_hook import start_hook

NOTICED_S = 1.0
DEEP = 1_100
TREES = 400 if LONG else 40
# Each library thread, and our own code on it, fails once a file named `end` is there.
_FAILS = """
import os, threading

def fails(cls, name):
    real = getattr(cls, name)

    def wrapped(*given, **named):
        if os.path.exists({end!r}) and threading.current_thread() is not threading.main_thread():
            raise {error}
        return real(*given, **named)

    setattr(cls, name, wrapped)
"""
_THREADS = {
    "reader": "from watchdog.observers.inotify_c import InotifyFD\nfails(InotifyFD, 'handle_event')",
    "emitter": "from watchdog.observers.inotify import InotifyEmitter\nfails(InotifyEmitter, 'queue_event')",
    "dispatcher": "from watchdog.observers.api import BaseObserver\nfails(BaseObserver, 'dispatch_events')",
    "our handler": "from edge.capture.inotify import FolderEvents\nfails(FolderEvents, '_on_event')",
}
_ERRORS = ("RecursionError('deep')", "MemoryError()", "KeyError('path')", "OSError(28, 'no room')", "SystemExit(1)")


def _hook(folder: Path, which: str, error: str, more: str = "") -> dict[str, str]:
    code = _FAILS.format(end=str(folder / "end"), error=error) + _THREADS[which] + more
    return start_hook(folder / "hook", {"edge.capture.watcher.POLL_S": 0.5}, code)


@pytest.mark.parametrize("error", _ERRORS if LONG else _ERRORS[:1])
@pytest.mark.parametrize("which", _THREADS)
def test_a_thread_of_the_library_that_ends(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None], which: str, error: str
) -> None:
    if error.startswith("SystemExit") and which != "reader":
        pytest.skip("threads end silently by it: as with the reader")
    daemon = DaemonProcess(tmp_path, tiny_model, environment=_hook(tmp_path, which, error))
    daemon.start("--heartbeat-s", "0.3")
    daemon.wait_for_log("INFO watching")
    burst.write(daemon.captures, 3)
    daemon.wait_for(burst.whole)
    (tmp_path / "end").touch()
    began = time.monotonic()
    burst.write(daemon.captures, 3)
    daemon.wait_for_log("nobody reads the kernel's events any more", seconds=20)
    took_s = time.monotonic() - began
    daemon.wait_for(burst.whole)
    health = "SELECT count(*) FROM heartbeat WHERE problem LIKE 'nobody reads%scanned every%'"
    wait_until(lambda: daemon.query(health) != [(0,)], 20, "a heartbeat with the problem")
    daemon.stop()
    assert "Traceback" not in daemon.log
    assert took_s < NOTICED_S + 2 * _load_s(), f"noticed after {took_s:.2f} s"
    report(
        Tally.of(f"the {which} of kernel events ends ({error})", 1, burst.whole, daemon, f"noticed in {took_s:.2f} s")
    )


def _load_s() -> float:
    """What a loaded machine may take longer."""
    return max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1)


def test_nobody_listens_and_the_service_manager_hears_of_it(tmp_path: Path, tiny_model: Path, burst: Burst) -> None:
    """With the scan in place of events taken away too, no more pings come."""
    no_scan = "\nfrom edge.capture.watcher import FolderWatcher\nFolderWatcher._poll = lambda self, reason: None"
    environment = _hook(tmp_path, "reader", _ERRORS[0], no_scan)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = DaemonProcess(tmp_path, tiny_model, environment=environment).start()
        manager.settimeout(30)
        while b"WATCHDOG=1" not in manager.recv(4096):
            pass
        (tmp_path / "end").touch()
        burst.write(daemon.captures, 1)
        manager.settimeout(2 + 2 * _load_s())
        end = time.monotonic() + 30
        with suppress(TimeoutError):
            while time.monotonic() < end:
                manager.recv(4096)
        daemon.kill()
        assert time.monotonic() < end, "the pings go on"


def _make_deep(folder: Path, depth: int, name: str, data: bytes) -> None:
    """A folder in a folder, and so on; the data lies in the middle and at the bottom."""
    handle = os.open(folder, os.O_RDONLY)
    for level in range(depth):
        os.mkdir(name, dir_fd=handle)
        below = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
        if level in (depth // 2, depth - 1):
            file = os.open(f"{level}.jpg", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle)
            os.write(file, data + b"%d" % level)
            os.close(file)
    os.close(handle)


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[Path]:
    """Python 3.11 cannot remove a folder that is nested so deep."""
    folder.mkdir()
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize("when", ["before the start", "moved in"])
def test_a_folder_nested_very_deep(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None], when: str
) -> None:
    environment = start_hook(
        tmp_path / "hook", {"edge.capture.watcher.POLL_S": 0.5, "edge.capture.watcher.RESCAN_S": 5}
    )
    daemon = DaemonProcess(tmp_path, tiny_model, environment=environment)
    data = burst.take()
    burst.whole.clear()
    with _removed_afterwards(daemon.captures), _removed_afterwards(tmp_path / "beside"):
        place = daemon.captures if when == "before the start" else tmp_path / "beside"
        _make_deep(place, DEEP, "d", data)
        _make_deep(place, DEEP, "long", data + b"long")
        if when == "moved in":
            daemon.start("--heartbeat-s", "0.3")
            daemon.wait_for_log("INFO watching")
            for name in ("d", "long"):
                (place / name).rename(daemon.captures / name)
        else:
            daemon.start("--heartbeat-s", "0.3")
        burst.write(daemon.captures, 3)
        daemon.wait_for(burst.whole)
        deep = "SELECT count(*) FROM media WHERE status = 'classified' AND path LIKE '%/d/d/%'"
        wait_until(lambda: daemon.query(deep) == [(2,)], 60, f"the deep frames\n{daemon.log[-2000:]}")
        daemon.wait_for_log("it cannot be read (", seconds=60)
        health = "SELECT count(*) FROM heartbeat WHERE problem LIKE '%not read:%'"
        wait_until(lambda: daemon.query(health) != [(0,)], 30, "a heartbeat with the problem")
        daemon.stop()
        assert "Traceback" not in daemon.log
        assert daemon.query("SELECT count(*) FROM media WHERE path LIKE '%long/long%'") == [(1,)]
        report(Tally(f"a folder nested {DEEP} deep, {when}", 2, 2, 0, 0, "what lies beyond 4,096 bytes is reported"))


def test_folders_that_go_while_they_are_scanned(
    tmp_path: Path, tiny_model: Path, burst: Burst, report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start("--poll", "0.2")
    daemon.wait_for_log("INFO watching")
    small = burst.take()
    burst.whole.clear()

    def come_and_go() -> None:
        for number in range(TREES):
            tree = daemon.captures / f"tree{number}"
            (tree / "a/b/c").mkdir(parents=True)
            for place in (tree, tree / "a", tree / "a/b/c"):
                (place / "gone.jpg").write_bytes(small[:1000])
            subprocess.run(["rm", "-rf", str(tree)], check=True)

    going = threading.Thread(target=come_and_go)
    going.start()
    while going.is_alive():
        burst.write(daemon.captures, 1)
        going.join(1.0 if LONG else 0.2)
    daemon.wait_for(burst.whole)
    daemon.stop()
    assert "Traceback" not in daemon.log
    report(Tally.of("folders removed while they are scanned", TREES, burst.whole, daemon))
