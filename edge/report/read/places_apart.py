"""One name at two places: deployments of several databases that cannot be the same camera are told apart."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge.database.corrections.sites import distance_m
from edge.report.read.connection import connect

FARTHEST_M = 100
"""Places of one name farther apart than this belong to different cameras: a camera's coordinates are read by GPS."""
Place = tuple[float, float] | None
Names = Mapping[tuple[Path, str], str]
"""(database, deployment there) -> the name that tells it apart, for those that need one"""


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
