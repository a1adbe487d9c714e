"""`edge-db import camtrap-dp FOLDER_OR_ZIP`: what people said in a Camtrap DP package, as human labels."""

import csv
import io
import json
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from edge.database.events.table import update_events
from edge.database.imports.file_matching import Frames
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.timestamps import iso_utc, now

Line = dict[str, str]
_KINDS = ("animal", "human", "vehicle", "blank", "unknown")
_NEW_LABEL = """
INSERT INTO observation (media, subject, kind, taxon, rank, common_name, count, confidence, box_x, box_y, box_width,
    box_height, box_source, act, line, method, classified_by, classified_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'human', ?, ?)
ON CONFLICT (media, act, line) WHERE act IS NOT NULL DO NOTHING
"""


def import_package(connection: sqlite3.Connection, path: Path) -> ImportResult:
    """Read the observations whose classificationMethod is human, of media and of events.

    An event's observation counts for all its media: those that name the event, else those of its deployment and time.
    What one person wrote on a frame is one act, which counts instead of earlier ones; the same import again adds
    nothing. Frames are found by mediaID (our exports use the content digest)
    or by file path. One transaction. Raises `ImportProblem`.
    """
    package = _Package.read(path)
    frames, outcome = Frames(connection), ImportResult()
    labels: dict[tuple[int, str], list[Line]] = defaultdict(list)
    for line in package.observations:
        if line.get("classificationMethod") != "human" or line.get("observationType") not in _KINDS:
            outcome.passed_over += (
                line.get("observationLevel") != "event" or line.get("classificationMethod") == "human"
            )
            continue
        for media_id in package.media_of(line):
            media = frames.by_digest(media_id) or frames.by_path(package.paths.get(media_id, ""))
            if media is None:
                outcome.not_found.append(package.paths.get(media_id) or media_id)
                continue
            labels[media, line.get("classifiedBy") or "unnamed person"].append(line)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for (media, person), lines in labels.items():
            # What was written on the very frame overrides what was written on its event.
            own = [line for line in lines if line.get("mediaID")] or lines
            act = _act(person, own)
            for number, line in enumerate(own):
                values = (media, number, *_row(line, package), act, number, person, _time(line))
                connection.execute(_NEW_LABEL, values)
                outcome.rows += 1
        outcome.frames = len({media for media, _ in labels})
        update_events(connection, {media for media, _ in labels})
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return outcome


def _act(person: str, lines: list[Line]) -> str:
    """The name of the act that these lines are: the same lines again are the same act."""
    content = json.dumps([sorted(line.items()) for line in lines], ensure_ascii=False)
    return f"camtrap-dp {blake2b(f'{person} {content}'.encode(), digest_size=12).hexdigest()}"


class _Package:
    """The tables of a package."""

    def __init__(self, media: list[Line], observations: list[Line], taxa: dict[str, dict[str, Any]]) -> None:
        self.observations = observations
        self.taxa = taxa
        self.paths = {line["mediaID"]: line.get("filePath") or line.get("fileName", "") for line in media}
        self._of_event: dict[str, list[str]] = defaultdict(list)
        self._times: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
        for line in observations:
            if line.get("eventID") and line.get("mediaID"):
                self._of_event[line["eventID"]].append(line["mediaID"])
        for line in media:
            if at := _moment(line.get("timestamp", "")):
                self._times[line.get("deploymentID", "")].append((at, line["mediaID"]))

    @classmethod
    def read(cls, path: Path) -> "_Package":
        try:
            media, observations = _table(path, "media.csv"), _table(path, "observations.csv")
            taxa = json.loads(_text(path, "datapackage.json")).get("taxonomic", [])
            return cls(media, observations, {taxon["scientificName"]: taxon for taxon in taxa})
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ImportProblem(
                f"{path} is no Camtrap DP package ({error}); expected a folder or zip with datapackage.json, media.csv "
                "and observations.csv"
            ) from error

    def media_of(self, line: Line) -> list[str]:
        if line.get("mediaID"):
            return [line["mediaID"]]
        if named := self._of_event.get(line.get("eventID", "")):
            return list(dict.fromkeys(named))
        start, end = _moment(line.get("eventStart", "")), _moment(line.get("eventEnd", ""))
        if start is None or end is None:
            return []
        return [media for at, media in self._times.get(line.get("deploymentID", ""), []) if start <= at <= end]


def _text(path: Path, name: str) -> str:
    if path.is_dir():
        return (path / name).read_text("utf-8-sig")
    with zipfile.ZipFile(path) as archive:
        inside = next((n for n in archive.namelist() if n == name or n.endswith(f"/{name}")), name)
        return archive.read(inside).decode("utf-8-sig")


def _table(path: Path, name: str) -> list[Line]:
    def lines() -> Iterator[Line]:
        for line in csv.DictReader(io.StringIO(_text(path, name))):
            yield {key: "" if value in (None, "NA", "NaN", "nan") else value for key, value in line.items()}

    return list(lines())


def _row(line: Line, package: _Package) -> tuple[object, ...]:
    kind = line["observationType"]
    name = line.get("scientificName", "") if kind == "animal" else ""
    taxon = package.taxa.get(name, {})
    names = taxon.get("vernacularNames")
    common = str(names.get("eng", "")) if isinstance(names, dict) else ""
    box = [float(line[key]) if line.get(key) else None for key in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")]
    has_box = None not in box
    rank = taxon.get("taxonRank") or ("species" if len(name.split()) in (2, 3) else None)
    return (
        kind,
        (name or "Animalia") if kind == "animal" else None,
        (rank if name else "kingdom") if kind == "animal" else None,
        common or None,
        int(line["count"]) if line.get("count") else None,
        float(line["classificationProbability"]) if line.get("classificationProbability") else None,
        *(box if has_box else [None] * 4),
        "human" if has_box else None,
    )


def _time(line: Line) -> str:
    return iso_utc(_moment(line.get("classificationTimestamp", "")) or now())


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
