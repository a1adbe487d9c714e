"""`edge-report html`: one page that works offline, on a phone and on paper, and needs no script."""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from edge import __version__
from edge.report import figures
from edge.report.abundance import resampled_unit
from edge.report.activity import LEAST_EVENTS, density, minute_counts
from edge.report.figures import day_name, number
from edge.report.local_time import DAY_S, NO_TIME
from edge.report.output import Output
from edge.report.richness import richness
from edge.report.species_table import Row
from edge.report.study import Study
from edge.report.sun import solar_seconds, sun_of_day
from edge.report.survey import ANIMAL, BLANK, CLASSIFIED, HUMAN, KINDS, PENDING, UNKNOWN, UNREADABLE, VEHICLE
from edge.report.thumbnails import Gallery, Thumbnail

CLOCKS_SHOWN = 8
SPECIES_PICTURED = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-pictures", action="store_true", help="leave all frames out of the page")
    parser.add_argument(
        "--solar-time", action="store_true", help="activity by the sun: rises at 6 and sets at 18 (needs coordinates)"
    )


def write(study: Study, output: Output, arguments: argparse.Namespace) -> int:
    """Write the page."""
    page = render(study, pictures=not arguments.no_pictures, solar=arguments.solar_time, say=output.say)
    with output.text() as file:
        file.write(page)
    output.say("")
    return 0


def render(study: Study, pictures: bool = True, solar: bool = False, say: Any = lambda line: None) -> str:
    """The page as HTML."""
    say("working out the report")
    gallery = Gallery(study.survey, study.rules, pictures)
    context = {
        "title": study.project.get("title") or _default_title(study),
        "subtitle": _subtitle(study),
        "filters": study.selection.in_words(),
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "software_version": __version__,
        "headline": _headline(study),
        "species": _species(study, gallery, say),
        "interval_from": resampled_unit(study.efforts),
        "timeline": _timeline(study),
        "clocks": _clocks(study, solar),
        "solar": solar,
        "accumulation": _accumulation(study),
        "kinds": _kinds(study),
        "files": study.survey,
        "unreadable": _unreadable(study),
        "notes": _notes(study, solar),
        "rules": study.rules,
        "study": study,
    }
    return environment().get_template("report.html.jinja").render(context)


def environment() -> jinja2.Environment:
    """Templates with everything escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files("edge.report") / "templates" / name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": number, "percent": percent, "day": _day}
    return made


def percent(share: float) -> str:
    """0..1 as a percentage for people."""
    if share != share:
        return "–"
    return f"{100 * share:.0f} %" if 0.1 <= share <= 0.995 or share in (0, 1) else f"{100 * share:.1f} %"


def _day(local: int) -> str:
    return "–" if local == NO_TIME else day_name(local)


def _default_title(study: Study) -> str:
    deployments = study.survey.deployments
    if len(deployments) == 1 and deployments[0].named:
        return f"Wildlife at {deployments[0].name}"
    return f"Wildlife at {len(deployments)} cameras" if len(deployments) > 1 else "Wildlife on camera"


def _subtitle(study: Study) -> str:
    local = study.survey.frames.local
    known = local[local != NO_TIME]
    if not len(known):
        return "No frame with a known time"
    first, last = day_name(int(known.min())), day_name(int(known.max()))
    return first if first == last else f"{first} – {last}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline number."""

    value: str
    label: str
    note: str = ""


def _headline(study: Study) -> list[Figure]:
    survey, visits = study.survey, study.visits
    frames = int((survey.frames.status == CLASSIFIED).sum())
    animals = int(visits.animals.sum())
    named = sum(row.taxon.rank == "species" for row in study.species)
    blank = int((survey.records.kind == BLANK).sum())
    unknown = int((survey.records.kind == UNKNOWN).sum())
    unreadable = int((survey.frames.status == UNREADABLE).sum())
    return [
        Figure(number(animals), "animal event" if animals == 1 else "animal events", "independent visits"),
        Figure(number(named), "species", "named to species"),
        Figure(number(study.trap_nights), "trap-night" if study.trap_nights == 1 else "trap-nights", _cameras(study)),
        Figure(
            number(frames),
            "frame" if frames == 1 else "frames",
            f"{unreadable} unreadable" if unreadable else "all readable",
        ),
        Figure(percent(blank / frames) if frames else "–", "blank", f"{number(blank)} frames without an animal"),
        Figure(percent(unknown / frames) if frames else "–", "unknown", f"{number(unknown)} frames without an answer"),
    ]


def _cameras(study: Study) -> str:
    working = sum(effort.trap_nights > 0 for effort in study.efforts)
    return "1 camera" if working == 1 else f"{working} cameras"


@dataclass(frozen=True, slots=True)
class SpeciesLine:
    """A row of the species table, ready to be shown."""

    row: Row
    picture: Thumbnail | None
    spark: str
    low_share: float
    high_share: float
    share: float
    """Index and interval as shares of the widest one, 0..1."""


def _species(study: Study, gallery: Gallery, say: Any) -> list[SpeciesLine]:
    widest = max((row.abundance.high for row in study.species if row.abundance.high == row.abundance.high), default=0.0)
    widest = max(
        [widest, *(row.abundance.index for row in study.species if row.abundance.index == row.abundance.index)]
    )
    lines = []
    for place, row in enumerate(study.species):
        say(f"species {place + 1} of {len(study.species)}")
        seconds = seconds_of_day(study, row.code, solar=False)
        abundance = row.abundance
        low, high = (0.0, 0.0) if abundance.low != abundance.low else (abundance.low, abundance.high)
        lines.append(
            SpeciesLine(
                row,
                gallery.best(row.code) if place < SPECIES_PICTURED else None,
                figures.spark(density(minute_counts(seconds))) if len(seconds) >= LEAST_EVENTS else "",
                low / widest if widest else 0.0,
                high / widest if widest else 0.0,
                abundance.index / widest if widest and abundance.index == abundance.index else 0.0,
            )
        )
    return lines


def seconds_of_day(study: Study, taxon: int, solar: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When the events of a taxon (-1: of all animals) began, by the clock or by the sun; int64[events]."""
    visits = study.visits
    mine = visits.animals if taxon < 0 else visits.animals & (visits.taxon == taxon)
    if not solar:
        return visits.local_start[mine] % DAY_S
    parts = []
    for place, deployment in enumerate(study.survey.deployments):
        here = mine & (visits.deployment == place)
        if deployment.latitude is not None and deployment.longitude is not None and here.any():
            parts.append(
                solar_seconds(visits.start[here], visits.local_start[here], deployment.latitude, deployment.longitude)
            )
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _timeline(study: Study) -> dict[str, Any] | None:
    visits = study.visits
    days = visits.local_start[visits.animals] // DAY_S
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


def _clocks(study: Study, solar: bool) -> list[dict[str, Any]]:
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


def _accumulation(study: Study) -> dict[str, Any] | None:
    found = richness(study.visits, study.efforts, study.species_codes)
    if len(found.curve) < 2:
        return None
    return {"richness": found, "chart": figures.curve(found.curve, found.chao2, found.low, found.high)}


def _kinds(study: Study) -> list[dict[str, Any]]:
    records = study.survey.records
    total = max(len(records), 1)
    names = {ANIMAL: "animals", BLANK: "blank", UNKNOWN: "unknown", HUMAN: "people", VEHICLE: "vehicles"}
    counts = np.bincount(records.kind, minlength=len(KINDS))
    return [
        {"name": name, "count": int(counts[kind]), "share": float(counts[kind] / total), "kind": KINDS[kind]}
        for kind, name in names.items()
        if counts[kind]
    ]


def _unreadable(study: Study) -> dict[str, Any]:
    counts = study.survey.status_counts
    return {
        "by_reason": sorted(((r, n) for (s, r), n in counts.items() if s == "unreadable"), key=lambda item: -item[1]),
        "files": study.survey.problems[:12],
        "total": sum(n for (s, _), n in counts.items() if s == "unreadable"),
        "unsupported": sum(n for (s, _), n in counts.items() if s == "unsupported"),
        "pending": int((study.survey.frames.status == PENDING).sum()),
    }


def _notes(study: Study, solar: bool) -> list[str]:
    survey = study.survey
    notes = list(survey.notes)
    frames = survey.frames
    lost = int(((frames.at == NO_TIME) & (frames.status == CLASSIFIED)).sum())
    if lost:
        notes.append(f"{number(lost)} frames have no time: they count as frames, but in no event, day or hour.")
    assumed = [d.name for d in survey.deployments if not d.zone_known]
    if assumed and len(frames):
        zones = sorted({str(d.zone) for d in survey.deployments if not d.zone_known})
        notes.append(f"Nobody gave a time zone for {_listed(assumed)}; times are shown in {_listed(zones)} as assumed.")
    placeless = [d.name for d in survey.deployments if not d.has_place]
    if placeless and len(frames):
        notes.append(f"No coordinates for {_listed(placeless)}: no sunrise, sunset or place on a map.")
    if survey.duplicates:
        notes.append(f"{number(survey.duplicates)} frames were in more than one database and count once.")
    return notes


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
