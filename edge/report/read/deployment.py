"""A deployment as the databases and the configuration describe it together."""

from dataclasses import dataclass, replace
from math import ceil, cos, floor, log10, radians
from zoneinfo import ZoneInfo

from edge.report.read.local_time import NO_TIME
from edge.timestamps import period_bound

_KM_PER_DEGREE = 111.2


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment; `None` stands for what is not known."""

    name: str
    latitude: float | None = None
    longitude: float | None = None
    zone: ZoneInfo = ZoneInfo("UTC")
    zone_known: bool = False
    """False when the zone is the host's or UTC for want of a better one."""
    start_at: int = NO_TIME
    """UTC seconds; `NO_TIME` when it is not set."""
    end_at: int = NO_TIME
    named: bool = True
    """False for the frames of a database that belong to no named deployment."""

    uncertainty_m: int | None = None
    """Uncertainty of coordinates that were coarsened on purpose."""
    precision_deg: float | None = None

    @property
    def has_place(self) -> bool:
        return self.latitude is not None and self.longitude is not None

    def obscured(self, km: float) -> "Deployment":
        """The deployment with coordinates in the middle of a square of `km` kilometres that contains them.

        The square's grid is the same for all deployments, so nothing can be learned from several of them.
        """
        if self.latitude is None or self.longitude is None or km <= 0:
            return self
        step = km / _KM_PER_DEGREE
        latitude = (floor(self.latitude / step) + 0.5) * step
        # Squares keep their width in kilometres: the step in longitude follows the row's middle latitude.
        across = step / max(cos(radians(min(abs(latitude), 89.0))), 0.02)
        longitude = (floor(self.longitude / across) + 0.5) * across
        digits = max(0, min(5, 1 - floor(log10(step))))
        return replace(
            self,
            latitude=round(min(max(latitude, -90.0), 90.0), digits),
            longitude=round(min(max(longitude, -180.0), 180.0), digits),
            uncertainty_m=ceil(km * 1000 * 0.75),  # from the middle to a corner, and rounding
            precision_deg=round(across, 5),
        )

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


def utc_seconds(text: str | None, zone: ZoneInfo, end: bool = False) -> int:
    """ISO 8601 text (local time of `zone` when it has no offset) as UTC seconds; `NO_TIME` when absent or no time."""
    if not text:
        return NO_TIME
    try:
        return int(period_bound(text, zone, end).timestamp())
    except (ValueError, OverflowError):
        return NO_TIME
