"""Proof that the box was alive, with the state of the host where it tells: "no animal" and "box dead" must differ."""

import ctypes
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge.timestamps import now

_THERMAL = Path("/sys/class/thermal")
_TIMESYNC = Path("/run/systemd/timesync")
_TIMEX_BYTES = 256  # at least sizeof(struct timex) on every Linux
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The state of the box at one moment."""

    at: datetime
    backlog: int
    """Files known to wait."""
    free_bytes: int
    temperature_c: float | None
    """Of the hottest zone; `None` where the host has no thermometer."""
    clock_synchronised: bool | None


def read_status(backlog: int, free_bytes: int) -> HostStatus:
    return HostStatus(now(), backlog, free_bytes, temperature_c(), clock_synchronised())


def temperature_c(zones: Path = _THERMAL) -> float | None:
    found = []
    for zone in zones.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text("ascii")) / 1000)
        except (OSError, ValueError):
            continue  # zones that are switched off give errors
    return max(found, default=None)


def clock_synchronised() -> bool | None:
    """Whether something (NTP, PTP, GPS) keeps the system clock right; `None` where the kernel doesn't tell."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # all zero: only read
    except (OSError, AttributeError):
        return None
    if state >= 0:
        return bool(state != _TIME_ERROR)
    # The service may not even ask the kernel; systemd's time daemon leaves a mark that everyone can see.
    return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None
