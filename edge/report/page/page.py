"""`edge-report html`: one page that works offline, on a phone and on paper, and needs no script."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from edge import __version__
from edge.report.analysis.abundance import resampled_unit
from edge.report.analysis.activity import LEAST_EVENTS, density, minute_counts
from edge.report.analysis.agreement import agreement
from edge.report.analysis.camera_health import find_problems
from edge.report.analysis.review_queue import first_to_review
from edge.report.analysis.species_table import Row
from edge.report.analysis.study import Study
from edge.report.output import Output, Progress, Written, counted
from edge.report.page import svg as figures
from edge.report.page.charts import (
    accumulation,
    camera_map,
    clocks,
    confidences,
    effort_strips,
    light,
    matrix,
    seconds_of_day,
    timeline,
)  # fmt: skip
from edge.report.page.model_summary import model_words
from edge.report.page.svg import number
from edge.report.page.thumbnails import Gallery, Thumbnail, frame_paths
from edge.report.read.deployment import Deployment
from edge.report.read.local_time import NO_TIME, day_name, local_text
from edge.report.read.survey import ANIMAL, BLANK, CLASSIFIED, HUMAN, KINDS, PENDING, UNKNOWN, UNREADABLE, VEHICLE
from edge.vocabulary import MediaStatus

SPECIES_PICTURED = 60


def write(study: Study, output: Output, with_images: bool = True, solar_time: bool = False) -> Written:
    """Write the page."""
    page = render(study, with_images, solar_time, output.progress)
    with output.text() as file:
        file.write(page)
    output.progress("")
    return Written(counted(int((study.survey.frames.status == CLASSIFIED).sum()), "frame"))


def render(study: Study, pictures: bool = True, solar: bool = False, progress: Progress = lambda line: None) -> str:
    """The page as HTML."""
    progress("working out the report")
    gallery = Gallery(study.survey, study.rules, pictures)
    context = {
        "title": study.project.title or _default_title(study),
        "subtitle": _subtitle(study),
        "filters": study.selection.describe(),
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "software_version": __version__,
        "headline": _headline(study),
        "species": _species(study, gallery, progress),
        "interval_from": resampled_unit(study.efforts),
        "timeline": timeline(study),
        "clocks": clocks(study, solar),
        "solar": solar,
        "accumulation": accumulation(study),
        "matrix": matrix(study),
        "map": camera_map(study),
        "strips": effort_strips(study),
        "confidences": confidences(study),
        "light": light(study),
        "agreement": agreement(study),
        "reviews": _reviews(study, gallery),
        "problems": find_problems(study),
        "models": model_words(study),
        "kinds": _kinds(study),
        "files": study.survey,
        "unreadable": _unreadable(study),
        "notes": _notes(study),
        "rules": study.rules,
        "study": study,
    }
    return environment().get_template("report.html.jinja").render(context)


def environment() -> jinja2.Environment:
    """Templates with everything escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files("edge.report.page") / "templates" / name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": number, "percent": percent, "day": _day, "words": _code_words}
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
    frames = study.survey.frames
    known = frames.local[frames.clock_good]
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
    survey, events = study.survey, study.events
    frames = int((survey.frames.status == CLASSIFIED).sum())
    animals = int(events.animals.sum())
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
        Figure(percent(blank / frames) if frames else "–", "blank", f"{_frames(blank)} without an animal"),
        Figure(percent(unknown / frames) if frames else "–", "unknown", f"{_frames(unknown)} without an answer"),
    ]


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{number(count)} frames"


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


def _species(study: Study, gallery: Gallery, progress: Progress) -> list[SpeciesLine]:
    indexes = [row.abundance.index for row in study.species if row.abundance.index == row.abundance.index]
    highs = [row.abundance.high for row in study.species if row.abundance.high == row.abundance.high]
    # A very wide interval of a rare species must not flatten all others.
    widest = max([min(max(highs, default=0.0), 2.5 * max(indexes, default=0.0)), *indexes], default=0.0)
    lines = []
    for place, row in enumerate(study.species):
        progress(f"species {place + 1} of {len(study.species)}")
        seconds = seconds_of_day(study, row.code, solar=False)
        abundance = row.abundance
        low, high = (0.0, 0.0) if abundance.low != abundance.low else (abundance.low, abundance.high)
        lines.append(
            SpeciesLine(
                row,
                gallery.best(row.code) if place < SPECIES_PICTURED else None,
                figures.spark(density(minute_counts(seconds))) if len(seconds) >= LEAST_EVENTS else "",
                low / widest if widest else 0.0,
                min(high / widest, 1.0) if widest else 0.0,
                abundance.index / widest if widest and abundance.index == abundance.index else 0.0,
            )
        )
    return lines


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


@dataclass(frozen=True, slots=True)
class ReviewCard:
    """A frame to look at first."""

    picture: Thumbnail
    name: str
    scientific: str
    why: str
    where: str
    when: str
    file_name: str


def _reviews(study: Study, gallery: Gallery) -> list[ReviewCard]:
    survey = study.survey
    doubts = first_to_review(study)
    paths = frame_paths(survey, [doubt.frame for doubt in doubts])
    cards = []
    for doubt in doubts:
        taxon = survey.taxa[int(survey.records.taxon[doubt.record])]
        (when,) = local_text(survey.frames.local[doubt.frame : doubt.frame + 1])
        cards.append(
            ReviewCard(
                gallery.first(np.array([doubt.frame], np.int32)),
                taxon.common_name or taxon.scientific_name,
                taxon.scientific_name,
                doubt.why,
                survey.deployments[int(survey.frames.deployment[doubt.frame])].name,
                when.replace("T", " ")[:16] or "no time",
                paths[doubt.frame].name.encode("utf-8", "backslashreplace").decode(),
            )
        )
    return cards


def _unreadable(study: Study) -> dict[str, Any]:
    counts = study.survey.status_counts
    return {
        "by_reason": sorted(
            ((r, n) for (s, r), n in counts.items() if s == MediaStatus.UNREADABLE), key=lambda item: -item[1]
        ),
        "files": study.survey.problems[:12],
        "total": sum(n for (s, _), n in counts.items() if s == MediaStatus.UNREADABLE),
        "unsupported": sum(n for (s, _), n in counts.items() if s == MediaStatus.UNSUPPORTED),
        "pending": int((study.survey.frames.status == PENDING).sum()),
    }


def _notes(study: Study) -> list[str]:
    survey = study.survey
    notes: list[str] = []
    frames = survey.frames
    lost = int(((frames.at == NO_TIME) & (frames.status == CLASSIFIED)).sum())
    if lost:
        copied = " (their files were copied or changed, and carry no capture time)" if survey.copied_together else ""
        notes.append(f"{number(lost)} frames have no time{copied}: they count as frames, but in no event, day or hour.")
    wrong = int(((frames.at != NO_TIME) & ~frames.clock_good & (frames.status == CLASSIFIED)).sum())
    if wrong:
        notes.append(
            f"{number(wrong)} frames carry a time that cannot be true: their events count, their days and hours do not."
        )
    present = [d for i, d in enumerate(survey.deployments) if (frames.deployment == i).any()]
    assumed = [d for d in present if not d.zone_known]
    if assumed:
        zones = _listed(sorted({str(d.zone) for d in assumed}))
        notes.append(f"Nobody gave a time zone{_for(assumed)}; times are shown in {zones}, as assumed.")
    placeless = [d for d in present if not d.has_place]
    if placeless:
        notes.append(f"No coordinates{_for(placeless)}: no sunrise, sunset or place on a map.")
    open_ = [
        deployment
        for deployment, effort in zip(survey.deployments, study.efforts, strict=True)
        if effort.trap_nights and not (effort.start_given and effort.end_given)
    ]
    if open_:
        notes.append(
            f"Nobody gave a start or an end{_for(open_)}: trap-nights run from the first to the last sign of life."
        )
    if survey.duplicates:
        notes.append(f"{number(survey.duplicates)} frames were in more than one database and count once.")
    return notes


def _for(deployments: list[Deployment]) -> str:
    if len(deployments) == 1 and not deployments[0].named:
        return " for frames without a deployment" if deployments[0].name != "unnamed" else ""
    return f" for {_listed([d.name for d in deployments])}"


def _code_words(text: str) -> Markup:
    """Escaped text with `quoted` commands set as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
