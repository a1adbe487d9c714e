"""When a frame was taken, and how far its clock can be trusted."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

from edge.image.exif import Exif
from edge.timestamps import zone_named
from edge.vocabulary import ClockDoubt

EARLIEST_PLAUSIBLE = datetime(2005, 1, 1, tzinfo=UTC)  # no digital camera trap is older; a reset clock is
FUTURE_ALLOWANCE = timedelta(hours=26)  # a camera set to the other end of the world is no doubt by itself


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """The time at which a frame was taken, with the reasons to doubt it."""

    at: datetime
    """Aware, UTC."""
    raw: str
    """The time as the camera wrote it; empty when it wrote none."""
    zone: str
    """Name of the zone that `raw` was read in."""
    doubts: tuple[ClockDoubt, ...]
    """Reasons to doubt the time; empty when there is none."""


def capture_time(exif: Exif, mtime_s: float, zone: ZoneInfo | None, received_at: datetime) -> CaptureTime:
    """Read EXIF DateTimeOriginal; fall back on the file's modification time and say so.

    EXIF times carry no zone unless OffsetTimeOriginal is set. `zone` is the camera's; with `None` the host's zone is
    taken, and the doubt `zone_assumed` noted.
    """
    doubts: list[ClockDoubt] = []
    name = host_zone_name() if zone is None else zone.key
    local = _parse(exif.date_time_original, exif.sub_seconds)
    offset = _parse_offset(exif.offset)
    if local is None:
        at = _from_timestamp(mtime_s)
        doubts.append(ClockDoubt.NO_EXIF)
    elif offset is not None:
        at, name = local.replace(tzinfo=offset).astimezone(UTC), exif.offset
    else:
        aware = local.astimezone() if zone is None else local.replace(tzinfo=zone)
        at = aware.astimezone(UTC)
        if zone is None:
            doubts.append(ClockDoubt.ZONE_ASSUMED)
        elif at.astimezone(zone).replace(tzinfo=None) != local:
            doubts.append(ClockDoubt.DST_GAP)  # the clocks of this zone never showed that time
    if at < EARLIEST_PLAUSIBLE:
        doubts.append(ClockDoubt.BEFORE_2005)
    if at > received_at + FUTURE_ALLOWANCE:
        doubts.append(ClockDoubt.FUTURE)
    return CaptureTime(at, exif.date_time_original, name, tuple(doubts))


def host_zone_name() -> str:
    """Name of the host's time zone; where the host does not tell it, its present offset from UTC."""
    return _host_zone_name(os.environ.get("TZ", "").removeprefix(":"))


@cache  # the C library too reads the host's zone once, when the process begins
def _host_zone_name(named: str) -> str:
    named = named or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        return zone_named(named).key
    except ValueError:
        return datetime.now().astimezone().strftime("%z")


def _from_timestamp(seconds: float) -> datetime:
    """A file's time as a moment; 1970 for a time that no calendar holds."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _parse(text: str, sub_seconds: str) -> datetime | None:
    """Parse EXIF's `YYYY:MM:DD HH:MM:SS`; `None` for the zeros and blanks that cameras with an unset clock write.

    The calendar's first and last year count as no time, because no zone can be applied to them.
    """
    try:
        moment = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - the zone is the caller's to add
    except ValueError:
        return None
    if not 1 < moment.year < 9999:
        return None
    digits = sub_seconds.strip()
    return moment.replace(microsecond=int(f"{digits:0<6}"[:6])) if digits.isascii() and digits.isdigit() else moment


def _parse_offset(text: str) -> timezone | None:
    if not text:
        return None  # as with most cameras; the parser would take long to find that out
    try:
        moment = datetime.strptime(text, "%z")
    except ValueError:
        return None
    shift = moment.utcoffset()
    return None if shift is None else timezone(shift)
