"""Camtrap DP packages (TDWG): `media.csv` and `observations.csv` named by `datapackage.json`."""

import csv
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from edge.taxonomy import Taxon
from train.sample import Box, DataError, Dataset, Sample

_OTHER_KINDS = frozenset({"blank", "human", "vehicle"})


def read_camtrap_dp(path: Path) -> Dataset:
    """Read a package (its folder or `datapackage.json`).

    Observations of media give samples of those media; observations of an event give samples of all its media when
    the event has one species. The deployment is the location, the event the sequence.
    """
    folder = path if path.is_dir() else path.parent
    resources = _resources(folder / "datapackage.json")
    media = {row["mediaID"]: row for row in _rows(folder, resources, "media")}
    of_media: dict[str, list[dict[str, str]]] = defaultdict(list)
    of_event: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(folder, resources, "observations"):
        if row.get("mediaID"):
            of_media[row["mediaID"]].append(row)
        elif row.get("eventID"):
            of_event[row["eventID"]].append(row)
    samples: list[Sample] = []
    problems: list[str] = []
    taxa: dict[str, Taxon] = {}
    for identity, row in media.items():
        file = row["filePath"]
        if "://" in file:
            problems.append(f"{file}: an address, not a file of the package; download the media first")
            continue
        observations = of_media.get(identity) or of_event.get(row.get("eventID", ""), [])
        named = [(label, item) for item in observations if (label := _label(item))]
        if not named:
            problems.append(f"{file}: no observation that names a species, a blank, a human or a vehicle")
        boxed = [(label, item) for label, item in named if item.get("bboxX")]
        if named and not boxed and len({label for label, _ in named}) > 1:
            problems.append(f"{file}: {' and '.join(sorted({label for label, _ in named}))} without boxes")
            continue
        for label, item in boxed or named[:1]:
            samples.append(_sample(folder / file, label, row, item))
            words = label.split()
            if len(words) == 2:
                taxa[label] = Taxon(label, "species", item.get("vernacularName", "") or label, genus=words[0])
    return Dataset(folder.name, tuple(samples), taxa, tuple(problems))


def _resources(file: Path) -> dict[str, str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {item["name"]: item["path"] for item in document["resources"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not describe a Camtrap DP package ({error})") from error


def _rows(folder: Path, resources: dict[str, str], name: str) -> list[dict[str, str]]:
    if name not in resources:
        raise DataError(f"{folder / 'datapackage.json'} names no resource {name!r}")
    with (folder / resources[name]).open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _label(row: dict[str, str]) -> str:
    kind = row.get("observationType", "")
    return kind if kind in _OTHER_KINDS else row.get("scientificName", "").strip() if kind == "animal" else ""


def _sample(file: Path, label: str, media: dict[str, str], observation: dict[str, str]) -> Sample:
    box = None
    if observation.get("bboxX"):
        x, y, width, height = (float(observation[f"bbox{name}"]) for name in ("X", "Y", "Width", "Height"))
        box = Box(x, y, width, height).clipped()
    return Sample(
        path=file,
        label=label,
        location=media.get("deploymentID", ""),
        sequence=media.get("eventID") or observation.get("eventID") or "",
        captured_at=datetime.fromisoformat(media["timestamp"]) if media.get("timestamp") else None,
        box=box,
        scientific_name="" if label in _OTHER_KINDS else label,
    )
