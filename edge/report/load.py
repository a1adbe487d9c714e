"""Read detections databases into one `Survey`: choose what counts for each frame, merge, select."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge.event import DEFAULT_RULES, Rules, copied_together
from edge.report.answers import Answers, Observations, choose, read_observations
from edge.report.columns import KeyCodes, int64, joined, key_of, key_parts, read_columns, seconds_of
from edge.report.database import ReportError
from edge.report.deployment import Deployment, utc_seconds, zone_named
from edge.report.local_time import NO_TIME, to_local
from edge.report.selection import Selection
from edge.report.survey import (
    CLASSIFIED,
    DOUBTS,
    PROBLEMS_KEPT,
    STATUSES,
    Frames,
    Heartbeats,
    Problem,
    Survey,
)
from edge.report.two_readers import connect_with_help
from edge.report.votes import read_events, stored_votes, votes_missing, worked_out_votes
from edge.taxon_book import Model, TaxonBook, read_models

_PROBLEMS = """
SELECT path, status, coalesce(reason, ''), received_at FROM media
WHERE status <> 'classified' AND status = 'unreadable' ORDER BY received_at DESC LIMIT ?
"""
_DELAYS = """
SELECT strftime('%s', received_at) - strftime('%s', captured_at) FROM media
WHERE deployment IS ? AND captured_at IS NOT NULL ORDER BY captured_at DESC LIMIT 100
"""
PROMPT_S = 86_400
Say = Callable[[str], None]


@dataclass(slots=True)
class _Part:
    """One database, read."""

    media: NDArray[np.int64]
    digests: NDArray[np.uint64]
    """uint64[N, 2]: the first 128 bits."""
    deployment: NDArray[np.int32]
    at: NDArray[np.int64]
    status: NDArray[np.int8]
    doubt: NDArray[np.int8]
    infrared: NDArray[np.int8]
    event_kind: NDArray[np.int8]
    event_taxon: NDArray[np.int32]
    event_confidence: NDArray[np.float32]
    answers: Answers
    heartbeats: Heartbeats
    problems: list[Problem]
    counts: dict[tuple[str, str], int]


@dataclass(slots=True)
class _Places:
    """Deployments met, numbered; zones seen on their frames."""

    known: dict[str, Deployment] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    zones: Counter[tuple[str, str]] = field(default_factory=Counter)
    prompt: set[str] = field(default_factory=set)
    """Deployments whose frames come within a day of being taken."""

    def code(self, name: str) -> int:
        return self.codes.setdefault(name, len(self.codes))


def load(
    paths: Sequence[Path],
    selection: Selection = Selection(),  # noqa: B008 - frozen
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    time_zone: str | None = None,
    rules: Rules = DEFAULT_RULES,
    say: Say = lambda line: None,
) -> Survey:
    """Read and merge databases.

    `overrides` are the `[deployment.ID]` tables of the configuration; they go before what the databases say.
    Raises `ReportError` for a path that is no detections database.
    """
    book, models, places = TaxonBook(), list[Model](), _Places()
    parts = []
    for number, path in enumerate(paths):
        say(f"reading {path.name}" + (f" ({number + 1} of {len(paths)})" if len(paths) > 1 else ""))
        with connect_with_help(path, read_observations) as (connection, said):
            try:
                parts.append(_read(connection, said, path, len(paths) > 1, book, models, places, selection, rules, say))
            except sqlite3.DatabaseError as error:
                raise ReportError(
                    f"{path}: {error}; is it a detections database? `edge-db salvage` mends one"
                ) from error
    deployments = _deployments(places, overrides or {}, time_zone)
    survey = _merge(tuple(paths), parts, deployments, book, models, frozenset(places.prompt))
    return select(survey, selection, book)


def _read(
    connection: sqlite3.Connection,
    said: Callable[[], Observations],
    path: Path,
    several: bool,
    book: TaxonBook,
    models: list[Model],
    places: _Places,
    selection: Selection,
    rules: Rules,
    say: Say,
) -> _Part:
    own_models = read_models(connection)
    codes = {}
    for id_, model in own_models.items():
        if model.card is not None:
            book.learn(model.card)
        known = next((i for i, other in enumerate(models) if other.sha256 == model.sha256), None)
        codes[id_] = len(models) if known is None else known
        if known is None:
            models.append(model)
    if any(model.card is None for model in own_models.values()):
        book.learn_common_names(connection.execute("SELECT DISTINCT rank, taxon, common_name FROM observation"))
    for name, latitude, longitude, zone, start, end in connection.execute(
        'SELECT id, latitude, longitude, time_zone, start, "end" FROM deployment'
    ):
        own = zone_named(zone)
        here = own or ZoneInfo("UTC")
        read = Deployment(
            name, latitude, longitude, here, own is not None, utc_seconds(start, here), utc_seconds(end, here, end=True)
        )
        places.known[name] = places.known[name].merged(read) if name in places.known else read
        places.code(name)
    unnamed = path.stem if several else "unnamed"
    while unnamed in places.known and places.known[unnamed].named:
        unnamed += "-unnamed"
    part = _read_media(connection, several, unnamed, places)
    events = read_events(connection)  # before what is read beside is waited for
    part.answers = choose(said(), part.media, codes, _preferred(connection, own_models, selection), book)
    stored = stored_votes(events, part.media, book)
    if votes_missing(part.answers.records, part.at, stored):
        say("working out events")
        stored = worked_out_votes(connection, part.media, book, rules)
    part.event_kind, part.event_taxon, part.event_confidence = stored.kind, stored.taxon, stored.confidence
    part.heartbeats = _heartbeats(connection)
    if any(status == "unreadable" for status, _ in part.counts):
        part.problems = [
            Problem(readable_path(where), status, reason, at)
            for where, status, reason, at in connection.execute(_PROBLEMS, (PROBLEMS_KEPT,))
        ]
    return part


def _read_media(connection: sqlite3.Connection, several: bool, unnamed: str, places: _Places) -> _Part:
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
        if not name and unnamed not in places.known:
            places.known[unnamed] = Deployment(unnamed, named=False)
        places.zones[name or unnamed, zone] += number
        counts[status, reason] += number
    for name in sorted({key_parts(text)[0] for text in codes.codes}):
        delays = [delay for (delay,) in connection.execute(_DELAYS, (name or None,))]
        if delays and sum(delay < PROMPT_S for delay in delays) > len(delays) / 2:
            places.prompt.add(name or unnamed)
    size = len(ids)
    nothing = Heartbeats(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int8))
    return _Part(
        ids,
        digests,
        codes.table(lambda parts: places.code(parts[0] or unnamed), np.int32)[coded],
        at,
        codes.table(lambda parts: STATUSES.index(parts[3]), np.int8)[coded],
        codes.table(lambda parts: sum(1 << i for i, word in enumerate(DOUBTS) if word in parts[2].split(",")), np.int8)[
            coded
        ],
        codes.table(lambda parts: int(parts[5] or -1), np.int8)[coded],
        np.full(size, -1, np.int8),
        np.full(size, -1, np.int32),
        np.full(size, np.nan, np.float32),
        Answers.none(),
        nothing,
        [],
        counts,
    )


def _no_digests(values: Sequence[Any]) -> NDArray[np.uint64]:
    return np.zeros((len(values), 2), np.uint64)


def _digest_bits(digests: Sequence[Any]) -> NDArray[np.uint64]:
    """uint64[N, 2]: the first 128 bits of digests in hexadecimal; chance meetings among them don't happen."""
    text = "".join([digest[:32].ljust(32, "0") for digest in digests])
    try:
        raw = bytes.fromhex(text)
    except ValueError:  # a digest of another making: still the same for the same content
        from hashlib import blake2b

        raw = b"".join(blake2b(str(digest).encode(), digest_size=16).digest() for digest in digests)
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def _preferred(
    connection: sqlite3.Connection, models: dict[int, Model], selection: Selection
) -> tuple[int | None, bool]:
    """The model whose answers count, and whether only those do."""
    if not selection.model:
        row = connection.execute("SELECT model FROM run ORDER BY id DESC LIMIT 1").fetchone()
        return (row[0] if row else None), False
    wanted = selection.model.lower()
    found = [
        id_
        for id_, model in models.items()
        if wanted in (model.name.lower(), model.title.lower()) or model.sha256.startswith(wanted)
    ]
    return (max(found) if found else -1), True


def _heartbeats(connection: sqlite3.Connection) -> Heartbeats:
    rows = connection.execute(
        "SELECT CAST(strftime('%s', at) AS INTEGER), coalesce(free_bytes, -1), coalesce(clock_synchronised, -1) "
        "FROM heartbeat WHERE strftime('%s', at) IS NOT NULL ORDER BY 1"
    ).fetchall()
    at, free, clock = zip(*rows, strict=True) if rows else ((), (), ())
    return Heartbeats(np.array(at, np.int64), np.array(free, np.int64), np.array(clock, np.int8))


def readable_path(path: object) -> str:
    """A stored path as text; bytes that are no UTF-8 are shown as escapes."""
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)


def _deployments(
    places: _Places, overrides: Mapping[str, Mapping[str, Any]], time_zone: str | None
) -> tuple[Deployment, ...]:
    settled = []
    for name in places.codes:
        known = places.known.get(name, Deployment(name))
        said = overrides.get(name, {})
        seen = [(n, zone) for (camera, zone), n in places.zones.items() if camera == name and zone_named(zone)]
        zone = zone_named(said.get("time_zone")) or (known.zone if known.zone_known else zone_named(time_zone))
        zone_known = zone is not None
        zone = zone or zone_named(max(seen)[1] if seen else None) or ZoneInfo("UTC")
        settled.append(
            replace(
                known,
                zone=zone,
                zone_known=zone_known,
                latitude=said.get("latitude", known.latitude),
                longitude=said.get("longitude", known.longitude),
                start_at=_said_time(said.get("start"), zone, known.start_at),
                end_at=_said_time(said.get("end"), zone, known.end_at, end=True),
            )
        )
    return tuple(settled)


def _said_time(value: object, zone: ZoneInfo, otherwise: int, end: bool = False) -> int:
    """A time out of TOML: a date, a time with or without an offset, or text."""
    return utc_seconds(str(value), zone, end) if value else otherwise


def _merge(
    paths: tuple[Path, ...],
    parts: list[_Part],
    deployments: tuple[Deployment, ...],
    book: TaxonBook,
    models: list[Model],
    live: frozenset[str],
) -> Survey:
    sizes = [len(part.media) for part in parts]
    starts = np.cumsum([0, *sizes])
    answers = Answers.stacked([part.answers.moved(int(start)) for part, start in zip(parts, starts, strict=False)])
    deployment = joined([part.deployment for part in parts], np.int32)
    at = joined([part.at for part in parts], np.int64)
    doubt = joined([part.doubt for part in parts], np.int8)
    undated = (doubt >> DOUBTS.index("no_exif") & 1).astype(bool) & (at != NO_TIME)
    copied = copied_together(deployment, at, undated) | _odd_ones(deployment, undated)
    at = np.where(copied, NO_TIME, at)
    local = np.full(len(at), NO_TIME, np.int64)
    for place, camera in enumerate(deployments):
        here = deployment == place
        local[here] = to_local(at[here], camera.zone)
    frames = Frames(
        np.repeat(np.arange(len(parts), dtype=np.int16), sizes),
        joined([part.media for part in parts], np.int64),
        deployment,
        at,
        local,
        joined([part.status for part in parts], np.int8),
        doubt,
        joined([part.infrared for part in parts], np.int8),
        joined([part.event_kind for part in parts], np.int8),
        joined([part.event_taxon for part in parts], np.int32),
        joined([part.event_confidence for part in parts], np.float32),
    )
    kept = np.ones(len(frames), bool)
    if len(parts) > 1:
        kept = _first_of_each(np.concatenate([part.digests for part in parts]), frames, answers)
    duplicates = int((~kept).sum())
    order = np.lexsort((frames.media, frames.at, frames.deployment))
    order = order[kept[order]]
    counts: Counter[tuple[str, str]] = Counter()
    for part in parts:
        counts.update(part.counts)
    problems = sorted((p for part in parts for p in part.problems), key=lambda p: p.at, reverse=True)[:PROBLEMS_KEPT]
    survey = Survey(
        paths=paths,
        deployments=deployments,
        taxa=tuple(book.taxa),
        models=tuple(models),
        frames=frames,
        records=answers.records,
        pairs=answers.pairs,
        people=answers.people,
        boxed=answers.boxed,
        heartbeats=tuple(part.heartbeats for part in parts),
        problems=tuple(problems),
        status_counts=dict(counts),
        copied_together=int(copied.sum()),
        live=live,
        duplicates=duplicates,
    )
    return rearranged(survey, order)


def _odd_ones(deployment: NDArray[np.int32], undated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames without EXIF among many that have it: something was done to the file, and its time is of that."""
    cameras = int(deployment.max(initial=-1)) + 1
    share = np.bincount(deployment, undated, cameras) / np.maximum(np.bincount(deployment, minlength=cameras), 1)
    return np.asarray(undated & (share[deployment] < 0.5))


def _first_of_each(digests: NDArray[np.uint64], frames: Frames, answers: Answers) -> NDArray[np.bool_]:
    """Of frames of the same content one: what a person looked at, else what was classified, else the first."""
    seen_by_people = np.zeros(len(frames), bool)
    seen_by_people[answers.records.frame[answers.records.human]] = True
    order = np.lexsort((frames.database, frames.status != CLASSIFIED, ~seen_by_people, digests[:, 1], digests[:, 0]))
    sorted_ = digests[order]
    first = np.ones(len(order), bool)
    first[1:] = (sorted_[1:] != sorted_[:-1]).any(axis=1)
    kept = np.zeros(len(order), bool)
    kept[order[first]] = True
    return np.asarray(kept | (frames.status != CLASSIFIED))  # what was not scored has no content that can be trusted


def rearranged(survey: Survey, order: NDArray[np.int64]) -> Survey:
    """The survey with the frames at `order`, in that order, and what belongs to them."""
    place = np.full(len(survey.frames), -1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    frames = Frames(*(getattr(survey.frames, name)[order] for name in Frames.__slots__))

    def follow(table: Any) -> Any:
        moved = place[table.frame]
        table = type(table)(moved, *(getattr(table, name) for name in table.__slots__[1:]))
        kept = moved >= 0
        by_frame = np.argsort(moved[kept], kind="stable")
        return type(table)(*(getattr(table, name)[kept][by_frame] for name in table.__slots__))

    people = place[survey.people]
    return replace(
        survey,
        frames=frames,
        records=follow(survey.records),
        pairs=follow(survey.pairs),
        people=np.sort(people[people >= 0]),
    )


def select(survey: Survey, selection: Selection, book: TaxonBook) -> Survey:
    """The part of the survey that `selection` asks for. Raises `ReportError` for a deployment or species unknown."""
    frames, records = survey.frames, survey.records
    notes = list(survey.notes)
    kept = np.ones(len(frames), bool)
    if selection.deployments:
        names = {deployment.name: i for i, deployment in enumerate(survey.deployments)}
        missing = [name for name in selection.deployments if name not in names]
        if missing:
            raise ReportError(f"no deployment {missing[0]!r} here; there are: {', '.join(sorted(names)) or 'none'}")
        kept &= np.isin(frames.deployment, [names[name] for name in selection.deployments])
    for bound, wanted_later in ((selection.since, True), (selection.until, False)):
        if bound is not None:
            limit = int((bound - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 - local time against local time
            kept &= (frames.local != NO_TIME) & ((frames.local >= limit) if wanted_later else (frames.local < limit))
    says = np.ones(len(records), bool)
    if selection.species:
        wanted, unmatched = book.matching(selection.species)
        if unmatched:
            raise ReportError(
                f"no taxon {unmatched[0]!r} here; give a scientific or common name as the species table of "
                "`edge-report html` or `edge-report csv` shows it"
            )
        codes = list(wanted)
        says &= np.isin(records.taxon, codes) | (~records.human & np.isin(frames.event_taxon[records.frame], codes))
    if selection.reviewed:
        looked = np.zeros(len(frames), bool)
        looked[records.frame[records.human]] = True
        kept &= looked
    if selection.min_confidence > 0:
        says &= records.human | (records.confidence >= selection.min_confidence)
    if selection.model and not len(records):
        titles = ", ".join(sorted({model.title for model in survey.models}))
        raise ReportError(f"no answers of model {selection.model!r} here; there are: {titles or 'none'}")
    if not says.all():
        survey = replace(survey, records=records.take(says))
    if not kept.all():
        survey = rearranged(survey, np.flatnonzero(kept))
    return replace(survey, notes=tuple(notes))
