"""A camera at one place for one period, as databases and the configuration together know it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from edge.report.local_time import NO_TIME


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is known of a deployment; `None` where nobody said."""

    name: str
    latitude: float | None = None
    longitude: float | None = None
    zone: ZoneInfo = ZoneInfo("UTC")
    zone_known: bool = False
    """False when the zone is the host's or UTC for want of a better one."""
    start_at: int = NO_TIME
    """UTC seconds; `NO_TIME` when nobody said."""
    end_at: int = NO_TIME
    named: bool = True
    """False for the frames of a database that belong to no named deployment."""

    uncertainty_m: int | None = None
    """Of coordinates that were coarsened on purpose."""
    precision_deg: float | None = None

    @property
    def has_place(self) -> bool:
        return self.latitude is not None and self.longitude is not None

    def merged(self, other: "Deployment") -> "Deployment":
        """This deployment with what `other` knows better: earliest start, latest end, a place where this has none."""
        starts = [at for at in (self.start_at, other.start_at) if at != NO_TIME]
        ends = [at for at in (self.end_at, other.end_at) if at != NO_TIME]
        return replace(
            self,
            latitude=self.latitude if self.latitude is not None else other.latitude,
            longitude=self.longitude if self.longitude is not None else other.longitude,
            zone=self.zone if self.zone_known else other.zone,
            zone_known=self.zone_known or other.zone_known,
            start_at=min(starts, default=NO_TIME),
            end_at=max(ends, default=NO_TIME),
        )


def zone_named(name: str | None) -> ZoneInfo | None:
    """The zone, or `None` for an empty or unknown name."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def utc_seconds(text: str | None, zone: ZoneInfo, end: bool = False) -> int:
    """ISO 8601 text (local time of `zone` when it has no offset) as UTC seconds; `NO_TIME` when absent or no time.

    A bare date that ends a period belongs to it as a whole; a period that ends at midnight ends the day before.
    """
    if not text:
        return NO_TIME
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return NO_TIME
    if end:
        at += timedelta(days=1, seconds=-1) if len(text) <= 10 else timedelta(seconds=-1 if _midnight(at) else 0)
    return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())


def _midnight(at: datetime) -> bool:
    return (at.hour, at.minute, at.second) == (0, 0, 0)
