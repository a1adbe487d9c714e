"""Reads Camtrap DP packages (TDWG): the tables deployments, media and observations that `datapackage.json` names."""

import csv
import gzip
import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edge.inference.taxonomy import RANKS, Taxon
from train.data.sample import Box, DataError, Dataset, Sample, read_time

_OTHER_KINDS = frozenset({"blank", "human", "vehicle"})
_NOTHING = frozenset({"NA", "NaN", "nan"})  # how statistics packages write an empty cell

Row = Mapping[str, str]


def read_camtrap_dp(path: Path) -> Dataset:
    """Read a package (its folder or `datapackage.json`).

    Observations of media give samples of those media. A medium without any gets the observations of events: those of
    its deployment that began before it and ended after it; it is a sample when they agree on one species. The location
    is the deployment's `locationID` (else `locationName`, else the deployment), the sequence is the event.
    """
    folder = path if path.is_dir() else path.parent
    resources, described = _package(folder / "datapackage.json")
    problems: list[str] = []
    places = _places(folder, resources, problems)
    media = {row["mediaID"]: row for row in _rows(folder, resources, "media", "mediaID", "filePath")}
    observations = _rows(folder, resources, "observations", "observationType")
    times = _times(media, problems)
    of_media: dict[str, list[Row]] = defaultdict(list)
    for row in observations:
        if row.get("mediaID"):
            of_media[row["mediaID"]].append(row)
    of_event = _of_events([row for row in observations if not row.get("mediaID")], media, times, problems)
    samples: list[Sample] = []
    taxa: dict[str, Taxon] = {}
    for identity, row in media.items():
        if "://" in row["filePath"]:
            problems.append(f"{row['filePath']}: an address, not a file of the package; download the media first")
        elif identity in times:
            found = of_media.get(identity) or of_event.get(identity, [])
            place = row.get("deploymentID", "")
            try:
                samples += _samples(folder, row, found, places.get(place, place), times[identity])
            except ValueError as error:
                problems.append(f"{row['filePath']}: {error}")
                continue
            for name in {item["scientificName"] for item in found if item.get("scientificName")}:
                if name in described:
                    taxa[name] = described[name]
                elif len(name.split()) == 2:
                    taxa[name] = Taxon(name, "species", name, genus=name.split()[0])
    return Dataset(folder.name, tuple(samples), taxa, tuple(problems))


def _package(file: Path) -> tuple[dict[str, list[Path]], dict[str, Taxon]]:
    """(the files of each table, the taxa that the package describes)."""
    try:
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        named = {item["name"]: item["path"] for item in document["resources"] if "path" in item}
        parts = {name: paths if isinstance(paths, list) else [paths] for name, paths in named.items()}
        return {name: [Path(str(part)) for part in paths] for name, paths in parts.items()}, _taxa(document)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{file} does not describe a Camtrap DP package ({error})") from error


def _taxa(document: Mapping[str, Any]) -> dict[str, Taxon]:
    taxa = {}
    for item in document.get("taxonomic") or ():
        name = str(item.get("scientificName") or "")
        rank = item.get("taxonRank") or ("species" if len(name.split()) == 2 else "")
        if name and rank in RANKS:
            common = (item.get("vernacularNames") or {}).get("eng") or name
            above = (str(item.get(key) or "") for key in ("class", "order", "family", "genus"))
            taxa[name] = Taxon(name, rank, common, *above)
    return taxa


def _rows(folder: Path, resources: Mapping[str, Sequence[Path]], name: str, *needed: str) -> list[Row]:
    if name not in resources:
        raise DataError(f"{folder / 'datapackage.json'} names no resource {name!r}")
    found: list[Row] = []
    header: list[str] = []
    for part in resources[name]:
        if part.parts[0] in ("http:", "https:", "ftp:"):
            raise DataError(f"resource {name!r} of {folder} is an address; download it and name the file")
        opened = gzip.open if part.suffix == ".gz" else open  # the standard allows both
        try:
            with opened(folder / part, "rt", newline="", encoding="utf-8-sig") as file:
                for cells in csv.reader(file):
                    header = header or cells
                    if cells and cells != header:  # the parts of a table may each repeat the header
                        clean = ("" if cell in _NOTHING else cell.strip() for cell in cells)
                        found.append(dict(zip(header, clean, strict=False)))
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{folder / part} cannot be read ({error}); expected the table {name} as CSV") from error
    missing = set(needed) - set(header)
    if missing:
        raise DataError(f"the table {name} of {folder} lacks the column {' and '.join(sorted(missing))}")
    return found


def _places(folder: Path, resources: Mapping[str, Sequence[Path]], problems: list[str]) -> dict[str, str]:
    """The location of each deployment. Without the table each deployment counts as a location of its own, so that a
    split by location may leak; this is listed among the problems.
    """
    if not all((folder / part).exists() for part in resources.get("deployments", [Path("deployments.csv")])):
        problems.append("there is no table of deployments: which of them were at one location is not known")
        return {}
    rows = _rows(folder, resources, "deployments", "deploymentID")
    return {
        row["deploymentID"]: row.get("locationID") or row.get("locationName") or row["deploymentID"] for row in rows
    }


def _times(media: Mapping[str, Row], problems: list[str]) -> dict[str, datetime | None]:
    """The time of each medium; media whose time cannot be read are listed among the problems and left out."""
    times = {}
    for identity, row in media.items():
        try:
            times[identity] = read_time(row.get("timestamp", ""), "its time")
        except ValueError as error:
            problems.append(f"{row['filePath']}: {error}")
    return times


def _of_events(
    observations: Sequence[Row], media: Mapping[str, Row], times: Mapping[str, datetime | None], problems: list[str]
) -> dict[str, list[Row]]:
    """For each medium, the observations of events during which it was taken at that deployment."""
    taken: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for identity, at in times.items():
        if at is not None:
            taken[media[identity].get("deploymentID", "")].append((at, identity))
    for of_deployment in taken.values():
        of_deployment.sort()
    found: dict[str, list[Row]] = defaultdict(list)
    for row in observations:
        name = f"observation {row.get('observationID') or row.get('eventID', '')}"
        try:
            start, end = (read_time(row.get(column, ""), "its time") for column in ("eventStart", "eventEnd"))
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if start is None or end is None:
            problems.append(f"{name}: names neither a medium nor the start and end of an event")
            continue
        own = taken.get(row.get("deploymentID", ""), [])
        first = bisect_left(own, start, key=lambda item: item[0])
        for at, identity in own[first:]:
            if at > end:
                break
            found[identity].append(row)
    return found


def _samples(folder: Path, media: Row, found: Sequence[Row], place: str, at: datetime | None) -> list[Sample]:
    """The samples of one medium. Raises `ValueError` where its observations leave them open."""
    named = [(label, item) for item in found if (label := _label(item))]
    if not named:
        raise ValueError("no observation that names a species, a blank, a human or a vehicle")
    boxed = [(label, item) for label, item in named if item.get("bboxX")]
    unboxed = {label for label, item in named if not item.get("bboxX")}
    if len({label for label, _ in named}) > 1 and not unboxed <= {label for label, _ in boxed}:
        raise ValueError(f"{' and '.join(sorted({label for label, _ in named}))} without a box for each")
    # One frame is of one sequence, also where its animals are counted as events of their own.
    sequence = next((item["eventID"] for _, item in named if item.get("eventID")), "")
    return [
        Sample(
            path=folder / media["filePath"],
            label=label,
            location=place,
            sequence=sequence,
            captured_at=at,
            box=_box(item),
            scientific_name="" if label in _OTHER_KINDS else label,
        )
        for label, item in boxed or named[:1]
    ]


def _label(row: Row) -> str:
    kind = row.get("observationType", "")
    return kind if kind in _OTHER_KINDS else row.get("scientificName", "") if kind == "animal" else ""


def _box(row: Row) -> Box | None:
    if not row.get("bboxX"):
        return None
    return Box.of_fractions(*(row.get(f"bbox{side}", "") for side in ("X", "Y", "Width", "Height")))
