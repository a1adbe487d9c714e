"""A deployment as the databases and the configuration describe it together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, cos, floor, log10, radians
from pathlib import Path
from zoneinfo import ZoneInfo

from edge.database.corrections.sites import distance_m
from edge.report.read.connection import connect
from edge.report.read.local_time import NO_TIME
from edge.timestamps import period_bound

_KM_PER_DEGREE = 111.2
FARTHEST_M = 100
"""Places of one name farther apart than this belong to different cameras: a camera's coordinates are read by GPS."""
Place = tuple[float, float] | None
Names = Mapping[tuple[Path, str], str]
"""(database, deployment there) -> the name that tells it apart, for those that need one"""


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


def tell_apart(paths: Sequence[Path], warn: Callable[[str], None] = lambda line: None) -> Names:
    """Names for deployments that share theirs with one of another database more than 100 m away."""
    seen: dict[str, list[tuple[Path, Place]]] = {}
    for path in paths if len(paths) > 1 else ():
        with connect(path) as connection:
            for name, latitude, longitude in connection.execute("SELECT id, latitude, longitude FROM deployment"):
                place = None if latitude is None or longitude is None else (latitude, longitude)
                seen.setdefault(name, []).append((path, place))
    labels = _labels(paths)
    names: dict[tuple[Path, str], str] = {}
    for name, places in seen.items():
        known = [place for _, place in places if place is not None]
        farthest = max((distance_m(one, other) for one in known for other in known), default=0.0)
        if farthest <= FARTHEST_M:
            continue
        heads: list[tuple[str, Place]] = []
        for path, place in places:
            head = next((label for label, other in heads if _together(place, other)), None)
            if head is None:
                head = f"{name} ({labels[path]})"
                heads.append((head, place))
            names[path, name] = head
        told = ", ".join(repr(label) for label, _ in heads)
        warn(f"{name!r} stands at places {farthest:,.0f} m apart in these databases and is told apart: {told}")
    return names


def _together(one: Place, other: Place) -> bool:
    """Whether both can be one camera's place; a place that is not known is nobody else's."""
    return one is not None and other is not None and distance_m(one, other) <= FARTHEST_M


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """Short names of databases: of the file, else of its folder, else the whole path."""
    stems, folders = {path: path.stem for path in paths}, {path: path.parent.name for path in paths}
    for labels in (stems, folders):
        if len(set(labels.values())) == len(paths):
            return labels
    return {path: str(path) for path in paths}
