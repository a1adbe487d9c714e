"""Log records with fields for systemd's journal, and a rate limit for each kind of message.

The protocol is sd_journal_send(3)'s: one datagram of fields to journald's socket, which `$JOURNAL_STREAM` promises.
"""

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"
WINDOW_S = 60.0
TIMES = 10
"""How often one kind of message is logged in a window; the rest is counted."""
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

# Identifiers for `journalctl MESSAGE_ID=...`.
FRAME_CLASSIFIED = "0b3c4bd5a0f84b0c8f2a7a2f3bb0c6a1"
FRAME_FAILED = "5d6f0c7e2a1b4e6f9c38d7b1e4a9f052"
FRAMES_SUMMED_UP = "9e1d7c40c3f54d2ab6f80b5ac29d3e77"


def fields(message_id: str, **values: str | None) -> dict[str, dict[str, str]]:
    """Fields of the journal's record, in capitals, for `extra=` of a log call; `None` is left out."""
    given = {name: value for name, value in values.items() if value is not None}
    return {"fields": {"MESSAGE_ID": message_id, **given}}


def is_journal(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the service manager has connected `stream` to the journal."""
    try:
        device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
        status = os.fstat(stream.fileno())
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


@dataclass(slots=True)
class _Window:
    began: float
    logged: int = 0
    held_back: int = 0


class RateLimit:
    """Lets each kind of message (its text before names are put in) through `TIMES` times in `WINDOW_S` seconds.

    The journal of a field device is on the card that the frames are on, and a thousand lines of one fault bury others.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def pass_on(self, record: logging.LogRecord) -> int | None:
        """Number of records of this kind that were held back before this one; `None` to hold this one back, too."""
        kind = (record.name, str(record.msg))
        window = self._windows.setdefault(kind, _Window(record.created))
        held_back = 0
        if not 0 <= record.created - window.began < WINDOW_S:  # also when the clock was set back
            held_back = window.held_back
            self._windows[kind] = window = _Window(record.created)
        if window.logged >= TIMES:
            window.held_back += 1
            return None
        window.logged += 1
        return held_back


class JournalHandler(logging.Handler):
    """Sends each record with its priority and its `fields`."""

    def __init__(self, path: str = SOCKET) -> None:
        super().__init__()
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._identifier = Path(sys.argv[0]).name
        self._limit = RateLimit()

    def emit(self, record: logging.LogRecord) -> None:
        held_back = self._limit.pass_on(record)
        if held_back is None:
            return
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        message = self.format(record) + (f" (and {held_back} more of this kind before)" if held_back else "")
        values = {
            "MESSAGE": message,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            **getattr(record, "fields", {}),
        }
        try:
            self._socket.sendto(b"".join(_encoded(name, value) for name, value in values.items()), self._path)
        except OSError:
            # journald is away for the moment; later it reads the line from the stream, with the prefix as its priority.
            sys.stderr.write(f"<{priority}>{message}\n")
            sys.stderr.flush()

    def close(self) -> None:
        self._socket.close()
        super().close()


def _encoded(name: str, value: str) -> bytes:
    data = os.fsencode(value)
    if b"\n" not in data:
        return name.encode("ascii") + b"=" + data + b"\n"
    return name.encode("ascii") + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
