"""Notifications to systemd: ready, watchdog, status, reloading and stopping; nothing without a service manager.

The protocol is sd_notify(3): one datagram of NAME=value lines to the socket that $NOTIFY_SOCKET names.
"""

import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._ping_every_s = _watchdog_s(environment) / 4
        self._next_ping = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """Report that model and database are open; this also ends `reloading`."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; it is sent only when it changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog. Only the work loop calls this: when a frame hangs, the calls end."""
        at = time.monotonic()
        if self._ping_every_s and at >= self._next_ping:
            self._next_ping = at + self._ping_every_s
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that the model is being loaded again."""
        # The time lets `Type=notify-reload` (systemd 253) tell this reload from an earlier one.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the work has ended."""
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(line.replace("\n", " ") for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(message.encode("utf-8", "backslashreplace"), address)
            except OSError:
                # The manager is being replaced (daemon-reexec): the work goes on, and the next call feeds the watchdog.
                self._next_ping = 0.0


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """The time after which silence counts as a hang; 0.0 when this process has no watchdog."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
