"""Moments as text and time zones by name, the same everywhere."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_named(name: str) -> ZoneInfo:
    """The time zone called `name`. Raises `ValueError` in one line."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"time zone {name!r} is not known here; expected a name such as Africa/Nairobi or UTC "
            "(is the system's tzdata installed?)"
        ) from error


def iso_utc(moment: datetime) -> str:
    """ISO 8601 in UTC to the millisecond, always of the same length so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now() -> datetime:
    return datetime.now(UTC)
