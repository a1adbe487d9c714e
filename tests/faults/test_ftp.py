"""A real FTP server on loopback: slow uploads that stall, stop and are resumed, beside fifty fast ones."""

import ftplib
import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until

pytestmark = pytest.mark.skipif(find_spec("pyftpdlib") is None, reason="pyftpdlib is the FTP server (pip install)")


@contextmanager
def ftp_server(folder: Path) -> Iterator[int]:
    """Serves uploads into `folder`; yields the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-W", "ignore", "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(port), "-w"]
    with subprocess.Popen(
        [*command, "-d", str(folder), "-u", "camera", "-P", "secret"], stderr=subprocess.DEVNULL
    ) as server:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            wait_until(answers, 20, "the FTP server")
            yield port
        finally:
            server.terminate()


def _login(port: int) -> ftplib.FTP:
    ftp = ftplib.FTP()
    ftp.connect("127.0.0.1", port, 30)
    ftp.login("camera", "secret")
    ftp.voidcmd("TYPE I")
    return ftp


def _upload(port: int, name: str, data: bytes) -> None:
    with _login(port) as ftp:
        ftp.storbinary(f"STOR {name}", io.BytesIO(data))


def _upload_slowly(port: int, name: str, data: bytes, pauses: int, pause_s: float) -> None:
    """Uploads in pieces with pauses between them, as over a cellular link, in one connection."""
    pause = threading.Event()
    with _login(port) as ftp:
        channel = ftp.transfercmd(f"STOR {name}")
        piece = len(data) // (pauses + 1) + 1
        for start in range(0, len(data), piece):
            channel.sendall(data[start : start + piece])
            pause.wait(pause_s)
        channel.close()
        ftp.voidresp()


def _upload_in_two(port: int, name: str, data: bytes, daemon: DaemonProcess) -> None:
    """The link breaks in the middle; the camera goes on after the daemon has read the incomplete file."""
    half = len(data) // 2
    ftp = _login(port)
    channel = ftp.transfercmd(f"STOR {name}")
    channel.sendall(data[:half])
    channel.close()
    ftp.close()
    status = f"SELECT status FROM media WHERE path LIKE '%{name}'"
    wait_until(lambda: bool(daemon.query(status)), 60, "the incomplete file to be known")
    assert daemon.query(status) == [("pending",)]
    with _login(port) as ftp:
        there = ftp.size(name)
        assert there is not None
        ftp.storbinary(f"STOR {name}", io.BytesIO(data[there:]), rest=there)


def test_slow_and_broken_uploads_beside_fast_ones(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model).start()
    daemon.wait_for_log("INFO watching")
    chosen = sorted(frames, key=len)[:56]
    whole = {digest(data) for data in chosen}
    with ftp_server(daemon.captures) as port:
        slow = [
            threading.Thread(target=_upload_slowly, args=(port, f"slow{n}.jpg", chosen[n], 6, 0.7)) for n in range(3)
        ]
        slow += [
            threading.Thread(target=_upload_in_two, args=(port, f"broken{n}.jpg", chosen[3 + n], daemon))
            for n in range(3)
        ]
        for thread in slow:
            thread.start()
        for number, data in enumerate(chosen[6:]):
            _upload(port, f"fast{number:02}.jpg", data)
        for thread in slow:
            thread.join()
        daemon.wait_for(whole)
        daemon.stop()
    assert daemon.query("SELECT count(*) FROM media WHERE status <> 'classified'") == [(0,)]
    report(Tally.of("FTP: 3 stalling, 3 broken off and resumed, 50 fast uploads", 56, whole, daemon))
