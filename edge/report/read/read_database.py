"""Read one detections database: columns of its frames, the labels that count, and its deployments."""

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules
from edge.database.taxon_index import Model, TaxonIndex, read_models
from edge.report.output import Progress
from edge.report.read.columns import KeyCodes, int64, key_of, key_parts, read_columns, seconds_of
from edge.report.read.deployment import Deployment, utc_seconds
from edge.report.read.effective_labels import EffectiveLabels, Observations, Preferred, choose
from edge.report.read.event_labels import computed_members, event_missing, label_records, read_events, stored_members
from edge.report.read.filters import Selection
from edge.report.read.survey import PROBLEMS_KEPT, STATUSES, Heartbeats, Problem, doubt_bits
from edge.timestamps import zone_named
from edge.vocabulary import MediaStatus

_PROBLEMS = """
SELECT path, status, coalesce(reason, ''), received_at FROM media
WHERE status <> 'classified' AND status = 'unreadable' ORDER BY received_at DESC LIMIT ?
"""
_DELAYS = """
SELECT strftime('%s', received_at) - strftime('%s', captured_at) FROM media
WHERE deployment IS ? AND captured_at IS NOT NULL ORDER BY captured_at DESC LIMIT 100
"""
PROMPT_S = 86_400


@dataclass(slots=True)
class Part:
    """The columns of one database."""

    media: NDArray[np.int64]
    digests: NDArray[np.uint64]
    """uint64[N, 2]: the first 128 bits."""
    deployment: NDArray[np.int32]
    at: NDArray[np.int64]
    status: NDArray[np.int8]
    doubt: NDArray[np.int16]
    infrared: NDArray[np.int8]
    labels: EffectiveLabels
    heartbeats: Heartbeats
    problems: list[Problem]
    counts: dict[tuple[str, str], int]


def _name_of_offset(name: str) -> str:
    """The zone of an offset from UTC in whole hours, which frames that tell their offset have; other names stay."""
    hours = re.fullmatch(r"([-+])(\d\d):?00", name)
    return name if hours is None else f"Etc/GMT{'-' if hours[1] == '+' else '+'}{int(hours[2])}"


@dataclass(slots=True)
class Places:
    """The deployments of all databases, numbered, with the time zones of their frames."""

    known: dict[str, Deployment] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    zones: Counter[tuple[str, str]] = field(default_factory=Counter)
    prompt: set[str] = field(default_factory=set)
    """Deployments whose frames come within a day of being taken."""

    unknown_zones: set[str] = field(default_factory=set)
    """Names of time zones that are not known here."""

    def zone_named(self, name: str | None) -> ZoneInfo | None:
        """The zone that a database names; `None` for none and for one that is not known here."""
        try:
            return zone_named(_name_of_offset(name)) if name else None
        except ValueError:
            self.unknown_zones.add(str(name))
            return None

    def code(self, name: str) -> int:
        return self.codes.setdefault(name, len(self.codes))


def read_database(
    connection: sqlite3.Connection,
    observations: Callable[[], Observations],
    path: Path,
    several: bool,
    names: Mapping[str, str],
    taxon_index: TaxonIndex,
    models: list[Model],
    places: Places,
    selection: Selection,
    rules: Rules,
    progress: Progress,
) -> Part:
    """Read the database through a connection that sees one state of it; `observations` gives its observations.

    Its taxa, models and deployments are added to `taxon_index`, `models` and `places`. One of `several` databases
    names its unnamed frames after its file, and keeps digests to find the same frame in another. `names` holds the
    deployments that are called otherwise than here, for another database has one of that name elsewhere.
    """
    own_models = read_models(connection)
    codes = {}
    for id_, model in own_models.items():
        if model.card is not None:
            taxon_index.learn(model.card)
        known = next((i for i, other in enumerate(models) if other.sha256 == model.sha256), None)
        codes[id_] = len(models) if known is None else known
        if known is None:
            models.append(model)
    if any(model.card is None for model in own_models.values()):
        taxon_index.learn_common_names(connection.execute("SELECT DISTINCT rank, taxon, common_name FROM observation"))
    for name, latitude, longitude, zone, start, end in connection.execute(
        'SELECT id, latitude, longitude, time_zone, start, "end" FROM deployment'
    ):
        own = places.zone_named(zone)
        here = own or ZoneInfo("UTC")
        name = names.get(name, name)
        read = Deployment(
            name, latitude, longitude, here, own is not None, utc_seconds(start, here), utc_seconds(end, here, end=True)
        )
        places.known[name] = places.known[name].merged(read) if name in places.known else read
        places.code(name)
    unnamed = path.stem if several else "unnamed"
    while unnamed in places.known and places.known[unnamed].named:
        unnamed += "-unnamed"
    part = _read_media(connection, several, {**names, "": unnamed}, places)
    events = read_events(connection)  # while the other process still reads observations
    part.labels = choose(observations(), part.media, codes, _preferred(connection, own_models, selection), taxon_index)
    records, frames = part.labels.records, len(part.media)
    events_of = label_records(records, stored_members(events, part.media, taxon_index), frames, taxon_index.taxa)
    if event_missing(records, part.at, events_of):
        progress("grouping events")
        events_of = label_records(
            records, computed_members(connection, part.media, taxon_index, rules), frames, taxon_index.taxa
        )
    labelled = replace(
        records, event_kind=events_of.kind, event_taxon=events_of.taxon, event_confidence=events_of.confidence
    )
    part.labels = replace(part.labels, records=labelled)
    part.heartbeats = _heartbeats(connection)
    if any(status == MediaStatus.UNREADABLE for status, _ in part.counts):
        part.problems = [
            Problem(readable_path(where), status, reason, at)
            for where, status, reason, at in connection.execute(_PROBLEMS, (PROBLEMS_KEPT,))
        ]
    return part


def _read_media(connection: sqlite3.Connection, several: bool, names: Mapping[str, str], places: Places) -> Part:
    has_infrared = any(row[1] == "infrared" for row in connection.execute("PRAGMA table_info(media)"))
    key = key_of("deployment", "time_zone", "clock_doubt", "status", "reason", "infrared" if has_infrared else "NULL")
    digest = "coalesce(digest, '')" if several else "NULL"  # only needed to find the same frame in another database
    codes = KeyCodes()
    ids, at, coded, digests = read_columns(
        connection,
        f"SELECT id, {seconds_of('captured_at')}, {key}, {digest} FROM media ORDER BY id",
        (int64, int64, codes, _digest_bits if several else _no_digests),
    )
    counts: Counter[tuple[str, str]] = Counter()
    for text, number in zip(codes.codes, np.bincount(coded, minlength=len(codes.codes)).tolist(), strict=True):
        name, zone, _, status, reason, _ = key_parts(text)
        if not name and names[name] not in places.known:
            places.known[names[name]] = Deployment(names[name], named=False)
        places.zones[names.get(name, name), zone] += number
        counts[status, reason] += number
    for name in sorted({key_parts(text)[0] for text in codes.codes}):
        delays = [delay for (delay,) in connection.execute(_DELAYS, (name or None,))]
        if delays and sum(delay < PROMPT_S for delay in delays) > len(delays) / 2:
            places.prompt.add(names.get(name, name))
    nothing = Heartbeats(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))
    return Part(
        ids,
        digests,
        codes.table(lambda parts: places.code(names.get(parts[0], parts[0])), np.int32)[coded],
        at,
        codes.table(lambda parts: STATUSES.index(parts[3]), np.int8)[coded],
        codes.table(lambda parts: doubt_bits(parts[2]), np.int16)[coded],
        codes.table(lambda parts: int(parts[5] or -1), np.int8)[coded],
        EffectiveLabels.none(),
        nothing,
        [],
        counts,
    )


def _no_digests(values: Sequence[Any]) -> NDArray[np.uint64]:
    return np.zeros((len(values), 2), np.uint64)


def _digest_bits(digests: Sequence[Any]) -> NDArray[np.uint64]:
    """uint64[N, 2]: the first 128 bits of digests in hexadecimal, enough to tell all frames apart."""
    text = "".join([digest[:32].ljust(32, "0") for digest in digests])
    try:
        raw = bytes.fromhex(text)
    except ValueError:  # a digest of another kind, still equal for equal content
        from hashlib import blake2b

        raw = b"".join(blake2b(str(digest).encode(), digest_size=16).digest() for digest in digests)
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def _preferred(connection: sqlite3.Connection, models: dict[int, Model], selection: Selection) -> Preferred:
    """The model and configuration whose decisions count: those that are pinned, or the model that was asked for."""
    if not selection.model:
        pinned = connection.execute("SELECT model, configuration FROM pin ORDER BY id DESC LIMIT 1").fetchone()
        return Preferred(*(pinned or (None, None)))
    wanted = selection.model.lower()
    found = [
        id_
        for id_, model in models.items()
        if wanted in (model.name.lower(), model.title.lower()) or model.sha256.startswith(wanted)
    ]
    return Preferred(max(found, default=None), only=True)


def _heartbeats(connection: sqlite3.Connection) -> Heartbeats:
    rows = connection.execute(
        "SELECT CAST(strftime('%s', at) AS INTEGER), coalesce(free_bytes, -1), coalesce(clock_synchronised, -1), "
        "problem FROM heartbeat WHERE strftime('%s', at) IS NOT NULL ORDER BY 1"
    ).fetchall()
    at, free, clock, problem = zip(*rows, strict=True) if rows else ((), (), (), ())
    newest = str(problem[-1] or "") if problem else ""
    return Heartbeats(np.array(at, np.int64), np.array(free, np.int64), np.array(clock, np.int8), newest)


def readable_path(path: object) -> str:
    """A stored path as text; bytes that are no UTF-8 are shown as escapes."""
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)
