"""The charts of the page: which numbers of the study they show, and the words of their tooltips."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge.report.analysis.activity import LEAST_EVENTS, density, minute_counts, peak
from edge.report.analysis.richness import Richness, richness
from edge.report.analysis.study import Study
from edge.report.analysis.sun import solar_seconds, sun_of_day
from edge.report.output import counted
from edge.report.page import svg
from edge.report.read.local_time import DAY_S, NO_TIME, day_name
from edge.report.read.survey import ANIMAL, CLASSIFIED

CLOCKS_SHOWN = 8
MATRIX_ROWS, MATRIX_COLUMNS = 24, 30


def seconds_of_day(study: Study, taxon: int, solar: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Time of day at which the events of a taxon (-1: of all animals) began, by the clock or the sun; int64[events]."""
    events = study.events
    mine = events.rated
    if taxon >= 0:
        mine &= events.taxon == taxon
    if not solar:
        return np.asarray(events.local_start[mine] % DAY_S)
    parts = []
    for place in np.unique(events.deployment[mine]).tolist():
        here, deployment = mine & (events.deployment == place), study.survey.deployments[place]
        if deployment.latitude is not None and deployment.longitude is not None and here.any():
            parts.append(
                solar_seconds(events.start[here], events.local_start[here], deployment.latitude, deployment.longitude)
            )
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Animal events over the period of the study."""

    unit: str
    """What one bar stands for: day, week or month."""
    total: int
    chart: svg.Bars


def timeline(study: Study) -> Timeline | None:
    """Events by day, week or month, with the share of cameras that watched; `None` without any dated frame."""
    events = study.events
    days = events.local_start[events.rated] // DAY_S
    spans = [(e.first_day, e.last_day) for e in study.efforts if len(e.active)]
    if not spans and not len(days):
        return None
    first = min([span[0] for span in spans] or [int(days.min())])
    last = max([span[1] for span in spans] or [int(days.max())])
    edges, unit = svg.period_bins(first, last)
    counts = np.histogram(days, edges)[0]
    watched = np.histogram(np.concatenate([days[:0], *(effort.days() for effort in study.efforts)]), edges)[0]
    possible = np.diff(edges) * max(sum(effort.trap_nights > 0 for effort in study.efforts), 1)
    texts = [
        f"{day_name(edge * DAY_S)}: {counted(count, 'event')}"
        for edge, count in zip(edges, counts.tolist(), strict=False)
    ]
    chart = svg.bars(counts.tolist(), texts, svg.month_ticks(edges))
    step = chart.width / len(counts)
    strip = tuple(
        svg.Bar(
            i * step, 0, step + 0.3, 6, f"{day_name(edges[i] * DAY_S)}: {share:.0%} of cameras watching", float(share)
        )
        for i, share in enumerate(watched / possible)
    )
    return Timeline(unit, int(counts.sum()), replace(chart, strip=strip))


@dataclass(frozen=True, slots=True)
class ActivityClock:
    """When over the day the events of a taxon began."""

    name: str
    events: int
    peak: str
    """The interval of the time of day with the highest density, in words."""
    clock: svg.Clock


def clocks(study: Study, solar: bool) -> list[ActivityClock]:
    """Activity of all animals and of the commonest species that have enough events."""
    rise, set_ = (6.0, 18.0) if solar else _mean_sun(study)
    named = [(-1, "all animals")] + [(row.code, row.name) for row in study.species if row.taxon.rank == "species"]
    shown = []
    for code, name in named:
        seconds = seconds_of_day(study, code, solar)
        if len(seconds) < LEAST_EVENTS:
            continue
        counts = minute_counts(seconds)
        most = str(peak(counts))
        text = f"Activity of {name} over the day, {len(seconds)} events, {most}"
        shown.append(ActivityClock(name, len(seconds), most, svg.clock(density(counts), rise, set_, text)))
        if len(shown) == CLOCKS_SHOWN:
            break
    return shown


def _mean_sun(study: Study) -> tuple[float | None, float | None]:
    """Mean local hours of sunrise and sunset over the watched days, of all deployments with coordinates."""
    rises, sets = [], []
    for place, (deployment, effort) in enumerate(zip(study.survey.deployments, study.efforts, strict=True)):
        days = effort.days()
        if deployment.latitude is None or deployment.longitude is None or not len(days):
            continue
        rise, noon, set_ = sun_of_day(days, deployment.latitude, deployment.longitude)
        frames = study.survey.frames.take(study.survey.frames.of(place))
        mine = frames.at != NO_TIME
        shift = float(np.mean(frames.local[mine] - frames.at[mine])) / 3600 if mine.any() else 0.0
        half = (set_ - rise) / 2
        if np.isnan(half).all():
            continue
        middle = float(np.mean(noon)) + shift
        rises.append(middle - float(np.nanmean(half)))
        sets.append(middle + float(np.nanmean(half)))
    return (float(np.mean(rises)) % 24, float(np.mean(sets)) % 24) if rises else (None, None)


@dataclass(frozen=True, slots=True)
class Accumulation:
    """Species by camera-days."""

    richness: Richness
    chart: svg.Curve


def accumulation(study: Study) -> Accumulation | None:
    """The species accumulation curve; `None` when there are too few camera-days for one."""
    found = richness(study.events, study.efforts, study.species_codes)
    if len(found.curve) < 2:
        return None
    return Accumulation(found, svg.curve(found.curve, found.chao2, found.low, found.high))


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """Events of one taxon at one camera."""

    events: int
    share: float
    """Shade of the cell, 0..1: the root of the rate relative to the highest of the row."""
    text: str


@dataclass(frozen=True, slots=True)
class MatrixLine:
    """One taxon at all cameras."""

    name: str
    cells: tuple[MatrixCell, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Events by taxon and camera."""

    cameras: tuple[str, ...]
    lines: tuple[MatrixLine, ...]
    left_out: int
    """Number of cameras for which there is no room."""


def matrix(study: Study) -> Matrix | None:
    """Events by taxon and camera; `None` for a single camera. Cameras without trap-nights have no column."""
    places = [i for i, effort in enumerate(study.efforts) if effort.trap_nights]
    rows = [row for row in study.species if row.abundance.events][:MATRIX_ROWS]
    if len(places) < 2 or not rows:
        return None
    events = study.events
    table = np.zeros((len(study.survey.taxa), len(study.survey.deployments)), np.int64)
    animals = events.rated & (events.taxon >= 0)
    np.add.at(table, (events.taxon[animals], events.deployment[animals]), 1)
    nights = np.array([max(effort.trap_nights, 1) for effort in study.efforts])
    rates = 100 * table / nights
    shown = places[:MATRIX_COLUMNS]
    names = [deployment.name for deployment in study.survey.deployments]
    lines = []
    for row in rows:
        most = float(rates[row.code, places].max())
        cells = tuple(
            MatrixCell(
                int(table[row.code, i]),
                round(float(rates[row.code, i] / most) ** 0.5, 3) if most else 0.0,
                f"{names[i]}: {rates[row.code, i]:.1f} events per 100 trap-nights",
            )
            for i in shown
        )
        lines.append(MatrixLine(row.name, cells))
    return Matrix(tuple(names[i] for i in shown), tuple(lines), len(places) - len(shown))


def camera_map(study: Study) -> svg.Map | None:
    """Cameras by their coordinates, also those without any frame of a believable time."""
    events = study.events
    counts = np.bincount(events.deployment[events.rated], minlength=len(study.survey.deployments))
    places = [
        svg.Place(
            d.name,
            d.latitude,
            d.longitude,
            int(counts[i]),
            f"{d.name}: {counted(int(counts[i]), 'event') if study.efforts[i].trap_nights else 'no usable time'}",
        )
        for i, d in ((place, study.survey.deployments[place]) for place in study.cameras)
        if d.latitude is not None and d.longitude is not None
    ]
    return svg.camera_map(places)


@dataclass(frozen=True, slots=True)
class Run:
    """Days in a row on which a camera watched, in percent of the axis."""

    x: float
    width: float


@dataclass(frozen=True, slots=True)
class EffortStrip:
    """The days on which one camera watched, on an axis that all cameras share."""

    name: str
    nights: int
    missing: int
    """Days of the deployment without a sign of life."""
    start: str
    end: str
    dates_set: bool
    """Whether start and end were set, not taken from the frames."""
    x: float
    """In percent of the axis, as `width`."""
    width: float
    runs: tuple[Run, ...]


def effort_strips(study: Study) -> list[EffortStrip]:
    """The strip of each camera; one that is not known to have watched has an empty strip."""
    spans = [(e.first_day, e.last_day) for e in study.efforts if len(e.active)]
    first, last = min([s[0] for s in spans] or [0]), max([s[1] for s in spans] or [0])
    width = 100 / (last - first + 1)
    strips = []
    for deployment, effort in ((study.survey.deployments[place], study.efforts[place]) for place in study.cameras):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], effort.active, [False]]).astype(np.int8)))
        runs = tuple(
            Run((effort.first_day + int(a) - first) * width, int(b - a) * width)
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        )
        strips.append(
            EffortStrip(
                name=deployment.name,
                nights=effort.trap_nights,
                missing=int((~effort.active).sum()),
                start=day_name(effort.first_day * DAY_S) if len(effort.active) else "",
                end=day_name(effort.last_day * DAY_S) if len(effort.active) else "",
                dates_set=effort.start_given and effort.end_given,
                x=(effort.first_day - first) * width if len(effort.active) else 0.0,
                width=len(effort.active) * width,
                runs=runs,
            )
        )
    return strips


def confidences(study: Study) -> svg.Bars | None:
    """Confidence of the model's decisions that name an animal."""
    records = study.survey.records
    confidence = records.confidence[(records.kind == ANIMAL) & ~records.human]
    confidence = confidence[~np.isnan(confidence)]
    if not len(confidence):
        return None
    counts = np.histogram(confidence, 20, (0, 1))[0]
    texts = [
        f"{i / 20:.0%} to {(i + 1) / 20:.0%}: {counted(count, 'frame')}" for i, count in enumerate(counts.tolist())
    ]
    return svg.bars(counts.tolist(), texts, [(i * 5, f"{i * 25} %") for i in range(4)], width=420, height=110)


@dataclass(frozen=True, slots=True)
class Light:
    """Numbers of infra-red and colour frames, and of those with animals."""

    night: int
    day: int
    night_animals: int
    day_animals: int
    night_share: float


def light(study: Study) -> Light | None:
    """Infra-red against colour frames; `None` where neither is known."""
    frames, records = study.survey.frames, study.survey.records
    known = (frames.infrared >= 0) & (frames.status == CLASSIFIED)
    if not known.any():
        return None
    with_animal = np.zeros(len(frames), bool)
    with_animal[records.frame[records.kind == ANIMAL]] = True
    night = known & (frames.infrared == 1)
    day = known & (frames.infrared == 0)
    return Light(
        night=int(night.sum()),
        day=int(day.sum()),
        night_animals=int((night & with_animal).sum()),
        day_animals=int((day & with_animal).sum()),
        night_share=float(night.sum() / known.sum()),
    )
