"""State of the device for the heartbeat: temperature, clock, free space and backlog."""

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
    """The state of the device at one moment."""

    at: datetime
    backlog: int
    """Number of files that wait to be classified."""
    free_bytes: int
    temperature_c: float | None
    """Temperature of the hottest zone; `None` where the device has no thermometer."""
    clock_synchronised: bool | None
    problem: str | None = None
    """What keeps the watch from seeing every file as it comes, in one line."""


def read_status(backlog: int, free_bytes: int, problem: str | None = None) -> HostStatus:
    """The state of the device now."""
    return HostStatus(now(), backlog, free_bytes, temperature_c(), clock_synchronised(), problem)


def temperature_c(zones: Path = _THERMAL) -> float | None:
    """Temperature of the hottest zone; `None` without a thermometer."""
    found = []
    for zone in zones.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text("ascii")) / 1000)
        except (OSError, ValueError):
            continue  # zones that are switched off give errors
    return max(found, default=None)


def clock_synchronised() -> bool | None:
    """Whether a time service (NTP, PTP, GPS) keeps the system clock right; `None` where that is unknown."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # all zero: only read
    except (OSError, AttributeError):
        return None
    if state >= 0:
        return bool(state != _TIME_ERROR)
    # The service may not ask the kernel (its sandbox); systemd's time daemon leaves a file that everyone can see.
    return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None
