"""The figures of the page: what is drawn, of what, with which words."""

from typing import Any

import numpy as np

from edge.report.analysis.activity import LEAST_EVENTS, density, minute_counts
from edge.report.analysis.richness import richness
from edge.report.analysis.study import Study
from edge.report.analysis.sun import solar_seconds, sun_of_day
from edge.report.page import svg as figures
from edge.report.read.local_time import DAY_S, NO_TIME, day_name
from edge.report.read.survey import ANIMAL, CLASSIFIED

CLOCKS_SHOWN = 8
MATRIX_ROWS, MATRIX_COLUMNS = 24, 30


def seconds_of_day(study: Study, taxon: int, solar: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When the events of a taxon (-1: of all animals) began, by the clock or by the sun; int64[events]."""
    events = study.events
    mine = events.animals & events.clock_good
    if taxon >= 0:
        mine &= events.taxon == taxon
    if not solar:
        return np.asarray(events.local_start[mine] % DAY_S)
    parts = []
    for place, deployment in enumerate(study.survey.deployments):
        here = mine & (events.deployment == place)
        if deployment.latitude is not None and deployment.longitude is not None and here.any():
            parts.append(
                solar_seconds(events.start[here], events.local_start[here], deployment.latitude, deployment.longitude)
            )
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def timeline(study: Study) -> dict[str, Any] | None:
    events = study.events
    days = events.local_start[events.animals & events.clock_good] // DAY_S
    spans = [(e.first_day, e.last_day) for e in study.efforts if len(e.active)]
    if not spans and not len(days):
        return None
    first = min([span[0] for span in spans] or [int(days.min())])
    last = max([span[1] for span in spans] or [int(days.max())])
    edges, unit = figures.period_bins(first, last)
    counts = np.histogram(days, edges)[0]
    watched = np.zeros(len(edges) - 1)
    for effort in study.efforts:
        watched += np.histogram(effort.days(), edges)[0]
    possible = np.diff(edges) * max(sum(effort.trap_nights > 0 for effort in study.efforts), 1)
    texts = [f"{day_name(edge * DAY_S)}: {count} events" for edge, count in zip(edges, counts, strict=False)]
    chart = figures.bars(counts.tolist(), texts, figures.month_ticks(edges))
    step = chart.width / len(counts)
    strip = tuple(
        figures.Bar(
            i * step, 0, step + 0.3, 6, f"{day_name(edges[i] * DAY_S)}: {share:.0%} of cameras watching", float(share)
        )
        for i, share in enumerate(watched / possible)
    )
    return {"unit": unit, "chart": chart, "strip": strip, "total": int(counts.sum())}


def clocks(study: Study, solar: bool) -> list[dict[str, Any]]:
    rise, set_ = (6.0, 18.0) if solar else _mean_sun(study)
    shown = []
    named = [(-1, "all animals", "")] + [
        (row.code, row.taxon.common_name or row.taxon.scientific_name, row.taxon.scientific_name)
        for row in study.species
        if row.taxon.rank == "species"
    ]
    for code, name, scientific in named:
        seconds = seconds_of_day(study, code, solar)
        if len(seconds) < LEAST_EVENTS:
            continue
        curve = density(minute_counts(seconds))
        peak = int(curve.argmax())
        text = f"Activity of {name} over the day, {len(seconds)} events, most around {peak // 60:02d}:{peak % 60:02d}"
        shown.append(
            {
                "name": name,
                "scientific": scientific,
                "events": len(seconds),
                "peak": f"{peak // 60:02d}:{peak % 60:02d}",
                "clock": figures.clock(curve, rise, set_, text),
            }
        )
        if len(shown) == CLOCKS_SHOWN:
            break
    return shown


def _mean_sun(study: Study) -> tuple[float | None, float | None]:
    """Mean local hours of sunrise and sunset over the watched days, of all deployments with coordinates."""
    rises, sets = [], []
    for deployment, effort in zip(study.survey.deployments, study.efforts, strict=True):
        days = effort.days()
        if deployment.latitude is None or deployment.longitude is None or not len(days):
            continue
        rise, noon, set_ = sun_of_day(days, deployment.latitude, deployment.longitude)
        frames = study.survey.frames
        mine = (frames.deployment == study.survey.deployments.index(deployment)) & (frames.at != NO_TIME)
        shift = float(np.mean(frames.local[mine] - frames.at[mine])) / 3600 if mine.any() else 0.0
        half = (set_ - rise) / 2
        if np.isnan(half).all():
            continue
        middle = float(np.mean(noon)) + shift
        rises.append(middle - float(np.nanmean(half)))
        sets.append(middle + float(np.nanmean(half)))
    return (float(np.mean(rises)) % 24, float(np.mean(sets)) % 24) if rises else (None, None)


def accumulation(study: Study) -> dict[str, Any] | None:
    found = richness(study.events, study.efforts, study.species_codes)
    if len(found.curve) < 2:
        return None
    return {"richness": found, "chart": figures.curve(found.curve, found.chao2, found.low, found.high)}


def matrix(study: Study) -> dict[str, Any] | None:
    """Events by taxon and camera; `None` for a single camera."""
    places = [i for i, effort in enumerate(study.efforts) if effort.trap_nights]
    rows = [row for row in study.species if row.abundance.events][:MATRIX_ROWS]
    if len(places) < 2 or not rows:
        return None
    events = study.events
    table = np.zeros((len(study.survey.taxa), len(study.survey.deployments)), np.int64)
    animals = events.animals & (events.taxon >= 0)
    np.add.at(table, (events.taxon[animals], events.deployment[animals]), 1)
    nights = np.array([max(effort.trap_nights, 1) for effort in study.efforts])
    rates = 100 * table / nights
    shown = places[:MATRIX_COLUMNS]
    lines = []
    for row in rows:
        most = float(rates[row.code, places].max())
        cells = [
            {
                "events": int(table[row.code, i]),
                "share": round(float(rates[row.code, i] / most) ** 0.5, 3) if most else 0.0,
                "text": f"{study.survey.deployments[i].name}: {rates[row.code, i]:.1f} events per 100 trap-nights",
            }
            for i in shown
        ]
        lines.append({"name": row.taxon.common_name or row.taxon.scientific_name, "cells": cells})
    return {
        "cameras": [study.survey.deployments[i].name for i in shown],
        "lines": lines,
        "left_out": len(places) - len(shown),
    }


def camera_map(study: Study) -> figures.Map | None:
    """Cameras by their coordinates."""
    events = study.events
    counts = np.bincount(events.deployment[events.animals], minlength=len(study.survey.deployments))
    places = [
        (d.name, d.latitude, d.longitude, int(counts[i]))
        for i, d in enumerate(study.survey.deployments)
        if d.latitude is not None and d.longitude is not None and study.efforts[i].trap_nights
    ]
    return figures.camera_map(places)


def effort_strips(study: Study) -> list[dict[str, Any]]:
    """For each camera the days on which it watched, on one common axis."""
    spans = [(e.first_day, e.last_day) for e in study.efforts if len(e.active)]
    if not spans:
        return []
    first, last = min(s[0] for s in spans), max(s[1] for s in spans)
    width = 100 / (last - first + 1)
    strips = []
    for deployment, effort in zip(study.survey.deployments, study.efforts, strict=True):
        if not len(effort.active):
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[False], effort.active, [False]]).astype(np.int8)))
        runs = [
            {"x": (effort.first_day + int(a) - first) * width, "width": int(b - a) * width}
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
        strips.append(
            {
                "name": deployment.name,
                "nights": effort.trap_nights,
                "missing": int((~effort.active).sum()),
                "start": day_name(effort.first_day * DAY_S),
                "end": day_name(effort.last_day * DAY_S),
                "given": effort.start_given and effort.end_given,
                "x": (effort.first_day - first) * width,
                "width": len(effort.active) * width,
                "runs": runs,
            }
        )
    return strips


def confidences(study: Study) -> figures.Bars | None:
    """How sure the model was of the animals that it named."""
    records = study.survey.records
    sure = records.confidence[(records.kind == ANIMAL) & ~records.human]
    sure = sure[~np.isnan(sure)]
    if not len(sure):
        return None
    counts = np.histogram(sure, 20, (0, 1))[0]
    texts = [f"{i / 20:.0%} to {(i + 1) / 20:.0%}: {count} frames" for i, count in enumerate(counts.tolist())]
    return figures.bars(counts.tolist(), texts, [(i * 5, f"{i * 25} %") for i in range(4)], width=420, height=110)


def light(study: Study) -> dict[str, Any] | None:
    """Colour against infra-red frames, all of them and those with animals."""
    frames, records = study.survey.frames, study.survey.records
    known = (frames.infrared >= 0) & (frames.status == CLASSIFIED)
    if not known.any():
        return None
    with_animal = np.zeros(len(frames), bool)
    with_animal[records.frame[records.kind == ANIMAL]] = True
    night = known & (frames.infrared == 1)
    day = known & (frames.infrared == 0)
    return {
        "night": int(night.sum()),
        "day": int(day.sum()),
        "night_animals": int((night & with_animal).sum()),
        "day_animals": int((day & with_animal).sum()),
        "night_share": float(night.sum() / known.sum()),
    }
