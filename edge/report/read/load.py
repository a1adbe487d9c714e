"""Merge what was read of each detections database into one `Survey`, and select what is asked for."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import DEFAULT_RULES, Rules, copied_together
from edge.database.taxon_index import Model, TaxonIndex
from edge.report.errors import ReportError
from edge.report.output import Progress
from edge.report.read.believable_times import believable_periods, doubts_of_times, not_in_future, outside_period
from edge.report.read.columns import joined, places_of
from edge.report.read.deployment import Deployment, tell_apart, utc_seconds
from edge.report.read.effective_labels import EffectiveLabels, read_observations
from edge.report.read.filters import Selection
from edge.report.read.local_time import NO_TIME, to_local
from edge.report.read.read_database import Part, Places, read_database
from edge.report.read.survey import (
    CLASSIFIED,
    PROBLEMS_KEPT,
    Frames,
    Survey,
    doubt_bit,
)
from edge.report.read.two_readers import connect_with_help
from edge.settings import deployment_table
from edge.vocabulary import ClockDoubt

FILES_OWN_TIME = doubt_bit(ClockDoubt.NO_EXIF) | doubt_bit(ClockDoubt.UNREADABLE_TIME)
"""Doubts of frames whose only time is that of their file."""


def load(
    paths: Sequence[Path],
    selection: Selection = Selection(),  # noqa: B008 - frozen
    overrides: Mapping[str, deployment_table.Deployment] | None = None,
    time_zone: str | None = None,
    rules: Rules = DEFAULT_RULES,
    progress: Progress = lambda line: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Survey:
    """Read and merge databases.

    `overrides` are the tables [deployment.ID] of the configuration; they override what the databases say.
    Raises `ReportError` for a path that is no detections database.
    """
    taxon_index, models, places = TaxonIndex(), list[Model](), Places()
    parts, names = [], tell_apart(paths, warn)
    for number, path in enumerate(paths):
        progress(f"reading {path.name}" + (f" ({number + 1} of {len(paths)})" if len(paths) > 1 else ""))
        with connect_with_help(path, read_observations) as (connection, observations):
            try:
                parts.append(
                    read_database(
                        connection,
                        observations,
                        path,
                        len(paths) > 1,
                        {name: told for (of, name), told in names.items() if of == path},
                        taxon_index,
                        models,
                        places,
                        selection,
                        rules,
                        progress,
                    )
                )
            except sqlite3.DatabaseError as error:
                raise ReportError(
                    f"{path}: {error}; is it a detections database? `edge-db salvage` mends one"
                ) from error
    overrides = dict(overrides or {})
    for (_, name), told in names.items():  # the configuration's place of a name is not that of several cameras
        if name in overrides and told not in overrides:
            overrides[told] = msgspec.structs.replace(overrides[name], id=told, latitude=None, longitude=None)
    deployments = _deployments(places, overrides, time_zone)
    for zone in sorted(places.unknown_zones):
        warn(f"the time zone {zone!r} of the database is not known here and is not used; --time-zone sets another")
    if stand_ins := sum(part.labels.stand_ins for part in parts):
        warn(
            f"{stand_ins} frame{'s were' if stand_ins > 1 else ' was'} not answered by the pinned model and"
            " configuration; the newest other answer stands in (`edge-db use-model` pins another)"
        )
    survey = _merge(tuple(paths), parts, deployments, taxon_index, models, frozenset(places.prompt), warn)
    return select(survey, selection, taxon_index)


def _deployments(
    places: Places, overrides: Mapping[str, deployment_table.Deployment], time_zone: str | None
) -> tuple[Deployment, ...]:
    settled = []
    seen_at: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (camera, zone_name), number in places.zones.items():
        seen_at[camera].append((number, zone_name))
    for name in places.codes:
        known = places.known.get(name, Deployment(name))
        override = overrides.get(name, deployment_table.Deployment(id=name))
        zone = (
            places.zone_named(override.time_zone)
            or (known.zone if known.zone_known else None)
            or places.zone_named(time_zone)
        )
        zone_known = zone is not None
        usual = [found for _, one in sorted(seen_at[name], reverse=True) if (found := places.zone_named(one))]
        zone = zone or (usual[0] if usual else ZoneInfo("UTC"))
        settled.append(
            replace(
                known,
                zone=zone,
                zone_known=zone_known,
                latitude=known.latitude if override.latitude is None else override.latitude,
                longitude=known.longitude if override.longitude is None else override.longitude,
                start_at=utc_seconds(override.start, zone) if override.start else known.start_at,
                end_at=utc_seconds(override.end, zone, end=True) if override.end else known.end_at,
            )
        )
    return tuple(settled)


def _merge(
    paths: tuple[Path, ...],
    parts: list[Part],
    deployments: tuple[Deployment, ...],
    taxon_index: TaxonIndex,
    models: list[Model],
    live: frozenset[str],
    warn: Callable[[str], None],
) -> Survey:
    sizes = [len(part.media) for part in parts]
    starts = np.cumsum([0, *sizes])
    labels = EffectiveLabels.stacked(
        [part.labels.moved(int(start)) for part, start in zip(parts, starts, strict=False)]
    )
    deployment = joined([part.deployment for part in parts], np.int32)
    at = joined([part.at for part in parts], np.int64)
    doubt = joined([part.doubt for part in parts], np.int16)
    undated = ((doubt & FILES_OWN_TIME) != 0) & (at != NO_TIME)
    come = not_in_future(at, doubt, deployment, [part.heartbeats for part in parts])
    doubt = np.where(come, doubt & ~np.int16(doubt_bit(ClockDoubt.FUTURE)), doubt)
    doubt = doubts_of_times(at, doubt)
    deployments = believable_periods(deployments, at, doubt, warn)
    copied = copied_together(deployment, at, undated) | _without_exif_among_others(deployment, undated)
    at = np.where(copied, NO_TIME, at)
    local = np.full(len(at), NO_TIME, np.int64)
    zones = list({camera.zone: None for camera in deployments})
    zone_of = np.array([zones.index(camera.zone) for camera in deployments], np.int32)
    for zone, here in zip(zones, places_of(zone_of[deployment], len(zones)), strict=True):
        local[here] = to_local(at[here], zone)
    frames = Frames(
        np.repeat(np.arange(len(parts), dtype=np.int16), sizes),
        joined([part.media for part in parts], np.int64),
        deployment,
        at,
        local,
        joined([part.status for part in parts], np.int8),
        doubt,
        joined([part.infrared for part in parts], np.int8),
        outside_period(deployments, deployment, at, doubt),
    )
    kept = np.ones(len(frames), bool)
    if len(parts) > 1:
        kept = _first_of_each(np.concatenate([part.digests for part in parts]), frames, labels)
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
        taxa=tuple(taxon_index.taxa),
        models=tuple(models),
        frames=frames,
        records=labels.records,
        pairs=labels.pairs,
        people=labels.people,
        boxed=labels.boxed,
        heartbeats=tuple(part.heartbeats for part in parts),
        problems=tuple(problems),
        status_counts=dict(counts),
        copied_together=int(copied.sum()),
        live=live,
        device_behind=tuple(int(mine.sum()) for mine in np.split(come, starts[1:-1])),
        duplicates=duplicates,
    )
    return rearranged(survey, order)


def _without_exif_among_others(deployment: NDArray[np.int32], undated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames without EXIF where most have it: the file was changed, and its time is that of the change."""
    cameras = int(deployment.max(initial=-1)) + 1
    share = np.bincount(deployment, undated, cameras) / np.maximum(np.bincount(deployment, minlength=cameras), 1)
    return np.asarray(undated & (share[deployment] < 0.5))


def _first_of_each(digests: NDArray[np.uint64], frames: Frames, labels: EffectiveLabels) -> NDArray[np.bool_]:
    """bool[frames]: one of the frames with the same content: a reviewed one, else a classified one, else the first."""
    reviewed = np.zeros(len(frames), bool)
    reviewed[labels.records.frame[labels.records.human]] = True
    order = np.lexsort((frames.database, frames.status != CLASSIFIED, ~reviewed, digests[:, 1], digests[:, 0]))
    sorted_ = digests[order]
    first = np.ones(len(order), bool)
    first[1:] = (sorted_[1:] != sorted_[:-1]).any(axis=1)
    kept = np.zeros(len(order), bool)
    kept[order[first]] = True
    return np.asarray(kept | (frames.status != CLASSIFIED))


def rearranged(survey: Survey, order: NDArray[np.int64]) -> Survey:
    """The survey with the frames at `order`, in that order, and all that belongs to them."""
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


def select(survey: Survey, selection: Selection, taxon_index: TaxonIndex) -> Survey:
    """The part of the survey that `selection` asks for. Raises `ReportError` for a deployment or species unknown."""
    frames, records = survey.frames, survey.records
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
    shown = np.ones(len(records), bool)
    if selection.species:
        wanted, unmatched = taxon_index.matching(selection.species)
        if unmatched:
            raise ReportError(
                f"no taxon is called {unmatched[0]!r} here; {_similar(unmatched[0], taxon_index.names())}"
            )
        codes = list(wanted)
        shown &= np.isin(records.taxon, codes) | (~records.human & np.isin(records.event_taxon, codes))
    if selection.reviewed:
        reviewed = np.zeros(len(frames), bool)
        reviewed[records.frame[records.human]] = True
        kept &= reviewed
    if selection.min_confidence > 0:
        shown &= records.human | (records.confidence >= selection.min_confidence)
    if selection.model and not len(records):
        titles = ", ".join(sorted({model.title for model in survey.models}))
        raise ReportError(f"no decisions of model {selection.model!r} here; there are: {titles or 'none'}")
    if not shown.all():
        survey = replace(survey, records=records.take(shown))
    if not kept.all():
        survey = rearranged(survey, np.flatnonzero(kept))
    return survey


def _similar(name: str, names: Sequence[str]) -> str:
    """What a name that matches no taxon may have meant, in words."""
    by_lower = {known.lower(): known for known in names}
    wanted = name.strip().lower()
    found = [known for known in by_lower if wanted in known.split()] or get_close_matches(wanted, by_lower)
    if not found:
        return "`edge-report csv` lists the scientific and common names"
    return f"did you mean {' or '.join(by_lower[known] for known in found[:3])}?"
