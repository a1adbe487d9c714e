"""`edge-db import camtrap-dp FOLDER_OR_ZIP`: what people said in a Camtrap DP package, as human labels."""

import bisect
import lzma
import math
import sqlite3
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from edge.database.events.table import update_events
from edge.database.imports.file_matching import FileEntry, Frames
from edge.database.imports.human_acts import Acts, HumanLine
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.imports.json_document import BadRow, Document, text_of
from edge.database.imports.table_file import LARGEST_BYTES, BadValue, Table, TableRow, count_of, read_table
from edge.database.taxon_index import TaxonIndex, read_models
from edge.database.transaction import writing
from edge.host.named_file import open_named
from edge.inference.taxonomy import ROOT_NAME
from edge.vocabulary import Kind, Method

SOURCE = "camtrap-dp"
_KINDS = {kind.value: kind for kind in Kind}
_NOT_CLASSIFIED = "unclassified"
_UNNAMED = "unnamed person"
_MOST_METADATA_BYTES = 50_000_000
_MOST_GROWTH = 100
"""Times that a file of a zip may be larger than it is packed; tables are ten to thirty times larger."""
_MOST_OF_EVENTS = 2_000_000
"""Frames that all lines of events together may be of: a line of an event counts for each of its frames."""


def import_package(connection: sqlite3.Connection, path: Path, strip: str = "") -> ImportResult:
    """Read the observations whose classificationMethod is human, of media and of events.

    An event's observation counts for all its media: those that name the event, else those of its deployment and time.
    What one person wrote on a frame is one act, which counts instead of earlier ones; the same import again adds
    nothing. Frames are found by mediaID (our exports use the content digest) or by file path, of which `strip` takes a
    leading folder off. One transaction. Raises `ImportProblem`.
    """
    package = _Package.read(path)
    outcome = ImportResult(bad_rows=package.media.bad_rows)
    outcome.bad_rows.add(package.observations.bad_rows)
    labels = _labels_by_media(package, outcome)
    entries, places = package.entries(labels)
    matches = Frames(connection).match(entries, strip)
    outcome.take(matches, entries, {places[media_id] for media_id in labels})
    acts = [
        (at, media, person, lines)
        for media_id, people in labels.items()
        if (media := matches.media[places[media_id]]) is not None
        for person, (at, lines) in people.items()
    ]
    # The newest act of a frame counts: what was said last is written last.
    acts.sort(key=lambda act: (act[1], act[0] or datetime.min.replace(tzinfo=UTC)))
    index = TaxonIndex()
    for model in read_models(connection).values():
        if model.card is not None:
            index.learn(model.card)
    with writing(connection):
        changed = set()
        known: Acts | None = None
        for at, media, person, lines in acts:
            outcome.rows += len(lines)
            known = known if known is not None and known.media == media else Acts(connection, media)
            if known.save(SOURCE, person, [package.named(line, index) for line in lines], at):
                outcome.new_rows += len(lines)
                changed.add(media)
        outcome.frames = len({media for _, media, _, _ in acts})
        update_events(connection, changed)
    return outcome


_Acts = dict[str, tuple[datetime | None, list[HumanLine]]]


def _labels_by_media(package: "_Package", outcome: ImportResult) -> dict[str, _Acts]:
    """By mediaID and person: when they said it, and the lines."""
    said: dict[str, dict[str, list[tuple[TableRow, HumanLine]]]] = defaultdict(lambda: defaultdict(list))
    unsaid = of_events = 0
    for row in package.observations.rows:
        method, type_ = row.get("classificationMethod").lower(), row.get("observationType").lower()
        if method != Method.HUMAN or type_ == _NOT_CLASSIFIED:
            unsaid += not method and type_ in _KINDS and row.get("observationLevel") != "event"
            outcome.passed_over += row.get("observationLevel") != "event" or method == Method.HUMAN
            continue
        where = f"observations.csv line {row.line}"
        if package.is_old:
            outcome.not_placed.append(
                f"{where}: the package is of Camtrap DP 0.1 (sequenceID in place of eventID), which is not read; "
                "export it as 1.0 and import that"
            )
            continue
        try:
            line = _line(row)
        except BadValue as error:
            outcome.bad_rows.append(f"{where}: {error}; the row was left out")
            continue
        if package.only_repeats(row):
            outcome.passed_over += 1
            continue
        media_ids = package.media_of(row)
        if not media_ids:
            outcome.not_placed.append(
                f"{where}: observation {row.get('observationID')} is of the event {row.get('eventID') or '(unnamed)'}, "
                f"{row.get('eventStart') or '?'} to {row.get('eventEnd') or '?'}, and no media of deployment "
                f"{row.get('deploymentID')} name it or lie in this time; correct the times or give mediaID"
            )
        of_events += len(media_ids) - 1
        if of_events > _MOST_OF_EVENTS:
            raise ImportProblem(
                f"{where}: the lines of events are of more than {_MOST_OF_EVENTS:,} frames in all; nothing was"
                " imported; give mediaID, or times of single events"
            )
        for media_id in media_ids:
            said[media_id][row.get("classifiedBy") or _UNNAMED].append((row, line))
    if unsaid:
        outcome.not_placed.append(
            f"observations.csv: {unsaid} observations have no classificationMethod; expected human or machine; write"
            " human to import them"
        )
    labels: dict[str, _Acts] = {}
    for media_id, people in said.items():
        # What was written on the very frame overrides what was written on its event, whoever wrote that.
        own = any(row.get("mediaID") for rows in people.values() for row, _ in rows)
        for person, rows in people.items():
            kept = [(r, line) for r, line in rows if r.get("mediaID")] if own else _of_one_event(rows)
            if kept:
                times = [at for r, _ in kept if (at := _moment(r.get("classificationTimestamp")))]
                labels.setdefault(media_id, {})[person] = (max(times, default=None), [line for _, line in kept])
    return labels


def _of_one_event(rows: list[tuple[TableRow, HumanLine]]) -> list[tuple[TableRow, HumanLine]]:
    """The lines of events that hold one frame, each taxon's from one event: lines of different events never add up."""
    owner: dict[tuple[str, str | None], str] = {}
    return [
        (row, line)
        for row, line in rows
        if owner.setdefault((line.kind, line.taxon), row.get("eventID")) == row.get("eventID")
    ]


class _Package:
    """The tables of a package."""

    def __init__(self, media: Table, observations: Table, taxa: list[dict[str, Any]]) -> None:
        self.media = media
        self.observations = observations
        self.is_old = "sequenceID" in observations.header and "eventID" not in observations.header
        self._taxa = {name: taxon for taxon in taxa if isinstance(name := taxon.get("scientificName"), str)}
        self._of_event: dict[str, dict[str, None]] = defaultdict(dict)
        self._said_on_media: set[tuple[str, str, str]] = set()
        self._times: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
        for row in observations.rows:
            if row.get("eventID") and row.get("mediaID"):
                self._of_event[row.get("eventID")][row.get("mediaID")] = None
                if row.get("classificationMethod").lower() == Method.HUMAN:
                    self._said_on_media.add(_saying(row))
        for row in media.rows:
            if at := _moment(row.get("timestamp")):
                self._times[row.get("deploymentID")].append((at, row.get("mediaID")))
        for times in self._times.values():
            times.sort(key=itemgetter(0))

    @classmethod
    def read(cls, path: Path) -> "_Package":
        try:
            with _opened(path, "media.csv") as file:
                media = read_table(file, "media.csv")
            with _opened(path, "observations.csv") as file:
                observations = read_table(file, "observations.csv")
            with _opened(path, "datapackage.json", _MOST_METADATA_BYTES) as file:
                taxa = Document.of(file.read()).get("taxonomic")
            for table, name, needed in (
                (media, "media.csv", ("mediaID",)),
                (observations, "observations.csv", ("observationType", "classificationMethod")),
            ):
                if missing := [column for column in needed if column not in table.header]:
                    raise ValueError(f"{name} has no column {missing[0]}")
            return cls(media, observations, [t for t in taxa if isinstance(t, dict)] if isinstance(taxa, list) else [])
        except _UNREADABLE as error:
            raise ImportProblem(
                f"{path} is no Camtrap DP package ({error}); expected a folder or zip with datapackage.json, media.csv "
                "and observations.csv; nothing was imported"
            ) from error

    def entries(self, also: dict[str, Any]) -> tuple[list[FileEntry], dict[str, int]]:
        """The files of the package, and the place of each mediaID among them; `also` names more mediaIDs."""
        files = {
            row.get("mediaID"): FileEntry(
                row.get("filePath"), row.get("mediaID"), row.get("fileName"), row.get("deploymentID")
            )
            for row in self.media.rows
        }
        files |= {media_id: FileEntry("", media_id) for media_id in also if media_id not in files}
        return list(files.values()), {media_id: place for place, media_id in enumerate(files)}

    def media_of(self, row: TableRow) -> list[str]:
        """The mediaIDs that an observation is of."""
        if row.get("mediaID"):
            return [row.get("mediaID")]
        if named := self._of_event.get(row.get("eventID")):
            return list(named)
        start, end = _moment(row.get("eventStart")), _moment(row.get("eventEnd"))
        if start is None or end is None:
            return []
        times = self._times.get(row.get("deploymentID"), [])
        first = bisect.bisect_left(times, start, key=itemgetter(0))
        return [media for _, media in times[first : bisect.bisect_right(times, end, key=itemgetter(0))]]

    def only_repeats(self, row: TableRow) -> bool:
        """Whether an unsigned observation of an event only sums up what people said on its media, as exports do."""
        return not row.get("mediaID") and not row.get("classifiedBy") and _saying(row) in self._said_on_media

    def named(self, line: HumanLine, index: TaxonIndex) -> HumanLine:
        """The line with the rank and the common name of its taxon."""
        if line.kind is not Kind.ANIMAL:
            return line
        if line.taxon is None:
            return replace(line, taxon=ROOT_NAME, rank="kingdom")
        told = self._taxa.get(line.taxon, {})
        names = told.get("vernacularNames")
        common = _words(names.get("eng")) if isinstance(names, dict) else ""
        known = next((t for t in index.called(line.taxon) if t.scientific_name.lower() == line.taxon.lower()), None)
        rank = _words(told.get("taxonRank")) or (known and known.rank)
        return replace(
            line,
            taxon=known.scientific_name if known else line.taxon,
            rank=rank or ("species" if len(line.taxon.split()) in (2, 3) else None),
            common_name=common or (known.common_name if known else "") or None,
        )


def _saying(row: TableRow) -> tuple[str, str, str]:
    return row.get("eventID"), row.get("observationType").lower(), row.get("scientificName")


def _words(value: object) -> str:
    """A name of the metadata; empty for what can be none."""
    try:
        return text_of(value, "a name")
    except BadRow:
        return ""


_UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),  # the last: encrypted, or packed in an unknown way
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


@contextmanager
def _opened(path: Path, name: str, at_most: int = LARGEST_BYTES) -> Iterator[IO[bytes]]:
    """A file of the package. Raises one of `_UNREADABLE`, also for one that is larger than `at_most`."""
    if path.is_dir():
        with open_named(path / name, at_most) as file:
            yield file
        return
    with open_named(path, LARGEST_BYTES) as packed, zipfile.ZipFile(packed) as archive:
        inside = archive.getinfo(next((n for n in archive.namelist() if n == name or n.endswith(f"/{name}")), name))
        if inside.file_size > min(at_most, 1_000_000 + _MOST_GROWTH * inside.compress_size):
            raise ValueError(
                f"{name} would grow from {inside.compress_size:,} to {inside.file_size:,} bytes; expected at most"
                f" {_MOST_GROWTH} times as many, and {at_most:,}"
            )
        with archive.open(inside) as file:
            yield file


def _line(row: TableRow) -> HumanLine:
    """What a row says. Raises `BadValue`."""
    kind = _KINDS.get(row.get("observationType").lower())
    if kind is None:
        expected = ", ".join(_KINDS)
        raise BadValue(f"observationType is {row.get('observationType')[:60]!r}; expected one of {expected}")
    counted = kind not in (Kind.BLANK, Kind.UNKNOWN)
    probability = _number(row, "classificationProbability")
    sides = [_number(row, name) for name in ("bboxX", "bboxY", "bboxWidth", "bboxHeight")]
    box = tuple(side for side in sides if side is not None)
    return HumanLine(
        kind,
        " ".join(row.get("scientificName").split()) or None if kind is Kind.ANIMAL else None,
        count=count_of(row.get("count"), "count") if counted else None,
        confidence=probability,
        life_stage=row.get("lifeStage") or None,
        sex=row.get("sex") or None,
        behaviour=row.get("behavior", "behaviour") or None,
        individual_id=row.get("individualID") or None,
        note=row.get("observationComments", "comments") or None,
        box=(box[0], box[1], box[2], box[3]) if len(box) == 4 else None,
    )


def _number(row: TableRow, name: str) -> float | None:
    """A number from 0 to 1. Raises `BadValue`."""
    if not row.get(name):
        return None
    try:
        number = float(row.get(name))
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise BadValue(f"{name} is {row.get(name)[:60]!r}; expected a number from 0 to 1")
    return number


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
