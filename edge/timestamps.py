"""Moments as text and time zones by name, the same everywhere."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EARLIEST_PLAUSIBLE = datetime(2005, 1, 1, tzinfo=UTC)  # no digital camera trap is older; a reset clock is
FUTURE_ALLOWANCE = timedelta(hours=26)
"""How far a camera may be ahead of a right clock: one set to the other end of the world is no doubt by itself."""


def zone_named(name: str) -> ZoneInfo:
    """The time zone called `name`. Raises `ValueError` in one line."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"time zone {name!r} is not known here; expected a name such as Africa/Nairobi or UTC "
            "(is the system's tzdata installed?)"
        ) from error


def period_bound(text: str, zone: ZoneInfo | None, end: bool = False) -> datetime:
    """The moment (UTC) at which a period begins or ends; local time of `zone`, or the host's, without an offset.

    A bare date that ends a period belongs to it as a whole; a period that ends at midnight ends the day before.
    Raises `ValueError` for text that is no ISO 8601 date or time.
    """
    at = datetime.fromisoformat(text)
    if end and len(text) <= 10:
        at += timedelta(days=1, seconds=-1)
    elif end and (at.hour, at.minute, at.second) == (0, 0, 0):
        at -= timedelta(seconds=1)
    return (at if at.tzinfo or zone is None else at.replace(tzinfo=zone)).astimezone(UTC)


def iso_utc(moment: datetime) -> str:
    """ISO 8601 in UTC to the millisecond, always of the same length so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> datetime:
    return datetime.now(UTC)
