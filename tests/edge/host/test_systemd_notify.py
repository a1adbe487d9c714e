"""Datagrams to the service manager: readiness, status, reload and watchdog."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.host.systemd_notify import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-classify-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        receiver.settimeout(5)
        yield receiver, name


def test_a_service_says_when_it_is_ready_what_it_does_and_that_it_stops(listening: tuple[socket.socket, str]) -> None:
    receiver, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.ready("watching")
    manager.status("watching")  # unchanged: nothing is sent
    manager.status("3 waiting, last: impala")
    manager.stopping()
    said = [receiver.recv(4096).decode() for _ in range(3)]
    assert said == ["READY=1\nSTATUS=watching", "STATUS=3 waiting, last: impala", "STOPPING=1"]


def test_a_status_cannot_smuggle_in_a_second_field(listening: tuple[socket.socket, str]) -> None:
    receiver, name = listening
    ServiceManager({"NOTIFY_SOCKET": name}).status("a.jpg\nMAINPID=1 \udcff")
    assert receiver.recv(4096).decode() == "STATUS=a.jpg MAINPID=1 \\udcff"


def test_a_reload_has_its_time(listening: tuple[socket.socket, str]) -> None:
    receiver, name = listening
    ServiceManager({"NOTIFY_SOCKET": name}).reloading()
    first, second = receiver.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_pings_come_at_most_four_times_in_the_watchdogs_interval(listening: tuple[socket.socket, str]) -> None:
    receiver, name = listening
    manager = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "600000000", "WATCHDOG_PID": str(os.getpid())})
    for _ in range(100):
        manager.alive()
    assert receiver.recv(4096) == b"WATCHDOG=1"
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(4096)


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}],
)
def test_without_a_watchdog_for_this_process_nothing_pings(
    listening: tuple[socket.socket, str], environment: dict[str, str]
) -> None:
    receiver, name = listening
    ServiceManager({"NOTIFY_SOCKET": name, **environment}).alive()
    receiver.setblocking(False)
    with pytest.raises(BlockingIOError):
        receiver.recv(4096)


def test_where_no_manager_listens_nothing_fails(tmp_path: Path) -> None:
    ServiceManager({}).ready("nobody asked")
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).stopping()
