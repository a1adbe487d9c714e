"""`edge-report html`: one page that works offline, on a phone and on paper, without scripts."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import BinaryIO

import jinja2
import numpy as np
from markupsafe import Markup, escape

from edge import __version__
from edge.report.analysis.abundance import resampled_unit
from edge.report.analysis.activity import LEAST_EVENTS, density, minute_counts
from edge.report.analysis.agreement import Agreement, agreement
from edge.report.analysis.camera_health import Finding, find_problems
from edge.report.analysis.review_queue import first_to_review
from edge.report.analysis.species_table import Row
from edge.report.analysis.study import Study
from edge.report.output import Output, Progress, Written, counted
from edge.report.page import svg
from edge.report.page.charts import (
    Accumulation,
    ActivityClock,
    EffortStrip,
    Light,
    Matrix,
    Timeline,
    accumulation,
    camera_map,
    clocks,
    confidences,
    effort_strips,
    light,
    matrix,
    seconds_of_day,
    timeline,
)
from edge.report.page.model_summary import ModelSummary, summarise_models
from edge.report.page.svg import number
from edge.report.page.thumbnails import Gallery, Thumbnail, frame_paths
from edge.report.read.deployment import Deployment
from edge.report.read.local_time import NO_TIME, day_name, local_text
from edge.report.read.survey import (
    ANIMAL,
    BLANK,
    CLASSIFIED,
    HUMAN,
    KINDS,
    PENDING,
    UNKNOWN,
    UNREADABLE,
    VEHICLE,
    Problem,
)
from edge.vocabulary import MediaStatus

SPECIES_WITH_THUMBNAIL = 60
_GENERATOR = b'<meta name="generator" content="edge-classify '


def is_own(file: BinaryIO) -> bool:
    """Whether it is a page with the tag that names this software."""
    return _GENERATOR in file.read(4096)


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline number."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class SpeciesLine:
    """A row of the species table with its thumbnail and curves."""

    row: Row
    thumbnail: Thumbnail | None
    spark: str
    low_share: float
    high_share: float
    share: float
    """Index and interval as shares of the widest one, 0..1."""


@dataclass(frozen=True, slots=True)
class ReviewCard:
    """A frame to review first."""

    thumbnail: Thumbnail
    name: str
    scientific: str
    reason: str
    where: str
    when: str
    file_name: str


@dataclass(frozen=True, slots=True)
class KindShare:
    """Frames of one kind."""

    kind: str
    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class UnclassifiedFiles:
    """Files that have no decision."""

    unreadable: int
    by_reason: list[tuple[str, int]]
    newest: tuple[Problem, ...]
    pending: int
    unsupported: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template of the page shows."""

    study: Study
    title: str
    subtitle: str
    filters: list[str]
    made_at: str
    software_version: str
    headline: list[Figure]
    species: list[SpeciesLine]
    interval_from: str
    """Units that the intervals of RAI are resampled from."""
    timeline: Timeline | None
    clocks: list[ActivityClock]
    solar_time: bool
    accumulation: Accumulation | None
    matrix: Matrix | None
    map: svg.Map | None
    strips: list[EffortStrip]
    confidences: svg.Bars | None
    light: Light | None
    agreement: Agreement | None
    reviews: list[ReviewCard]
    problems: list[Finding]
    models: list[ModelSummary]
    kinds: list[KindShare]
    unclassified: UnclassifiedFiles
    notes: list[str]


def render(
    study: Study, with_images: bool = True, solar_time: bool = False, progress: Progress = lambda line: None
) -> str:
    """The page as HTML."""
    progress("computing the report")
    gallery = Gallery(study.survey, study.rules, with_images)
    page = Page(
        study=study,
        title=study.project.title or _default_title(study),
        subtitle=_subtitle(study),
        filters=study.selection.describe(),
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        software_version=__version__,
        headline=_headline(study),
        species=_species(study, gallery, progress),
        interval_from=resampled_unit(study.efforts),
        timeline=timeline(study),
        clocks=clocks(study, solar_time),
        solar_time=solar_time,
        accumulation=accumulation(study),
        matrix=matrix(study),
        map=camera_map(study),
        strips=effort_strips(study),
        confidences=confidences(study),
        light=light(study),
        agreement=agreement(study),
        reviews=_reviews(study, gallery),
        problems=find_problems(study),
        models=summarise_models(study),
        kinds=_kinds(study),
        unclassified=_unclassified(study),
        notes=_notes(study),
    )
    return environment().get_template("report.html.jinja").render(page=page)


def write(study: Study, output: Output, with_images: bool = True, solar_time: bool = False) -> Written:
    """Write the page."""
    page = render(study, with_images, solar_time, output.progress)
    with output.text() as file:
        file.write(page)
    output.progress("")
    return Written(counted(int((study.survey.frames.status == CLASSIFIED).sum()), "frame"))


def environment() -> jinja2.Environment:
    """The template environment; everything is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files("edge.report.page") / "templates" / name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {"number": number, "percent": percent, "day": _day, "with_code": _with_code}
    return made


def percent(share: float) -> str:
    """A share, 0..1, as a percentage."""
    if share != share:
        return "–"
    return f"{100 * share:.0f} %" if 0.1 <= share <= 0.995 or share in (0, 1) else f"{100 * share:.1f} %"


def _day(local: int) -> str:
    return "–" if local == NO_TIME else day_name(local)


def _default_title(study: Study) -> str:
    cameras = [study.survey.deployments[place] for place in study.cameras]
    named = [camera.name for camera in cameras if camera.named]
    if len(named) > 1:
        return f"Wildlife at {len(named)} cameras"
    return f"Wildlife at {named[0]}" if named and len(cameras) == 1 else "Wildlife on camera"


def _subtitle(study: Study) -> str:
    frames = study.survey.frames
    known = frames.local[frames.clock_good]
    if not len(known):
        return "No frame with a known time"
    first, last = day_name(int(known.min())), day_name(int(known.max()))
    return first if first == last else f"{first} – {last}"


def _headline(study: Study) -> list[Figure]:
    survey, events = study.survey, study.events
    frames = int((survey.frames.status == CLASSIFIED).sum())
    animals = int(events.rated.sum())
    species = [row for row in study.species if row.taxon.rank == "species"]
    without_event = sum(not row.abundance.events for row in species)
    blank, unknown = (_frames_of_kind(study, kind) for kind in (BLANK, UNKNOWN))
    unreadable = int((survey.frames.status == UNREADABLE).sum())
    return [
        Figure(
            number(animals),
            "animal event" if animals == 1 else "animal events",
            f"more than {number(study.rules.interval_s / 60)} minutes apart",
        ),
        Figure(
            number(len(species)),
            "species",
            f"{number(without_event)} of them in no event" if without_event else "named to species",
        ),
        Figure(number(study.trap_nights), "trap-night" if study.trap_nights == 1 else "trap-nights", _cameras(study)),
        Figure(
            number(frames),
            "frame" if frames == 1 else "frames",
            f"{unreadable} unreadable" if unreadable else "all readable",
        ),
        Figure(percent(blank / frames) if frames else "–", "blank", f"{_frames(blank)} without an animal"),
        Figure(percent(unknown / frames) if frames else "–", "unknown", f"{_frames(unknown)} without a decision"),
    ]


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{number(count)} frames"


def _frames_of_kind(study: Study, kind: int) -> int:
    """Number of frames that show a kind; a frame in which a person saw several taxa counts once."""
    return len(np.unique(study.survey.records.frame[study.survey.records.kind == kind]))


def _cameras(study: Study) -> str:
    """How many cameras the trap-nights come from."""
    named = [place for place in study.cameras if study.survey.deployments[place].named]
    unnamed = [place for place in study.cameras if not study.survey.deployments[place].named]
    counts = [bool(study.efforts[place].trap_nights) for place in named or unnamed]
    words = counted(len(counts), "camera")
    if not all(counts):
        words = f"{sum(counts)} of {words}"
    if named and any(study.efforts[place].trap_nights for place in unnamed):
        words += " and frames of no deployment"
    return words


def _species(study: Study, gallery: Gallery, progress: Progress) -> list[SpeciesLine]:
    indexes = [row.abundance.index for row in study.species if row.abundance.index == row.abundance.index]
    highs = [row.abundance.high for row in study.species if row.abundance.interval_says_something]
    # A very wide interval of a rare species must not flatten all others.
    widest = max([min(max(highs, default=0.0), 2.5 * max(indexes, default=0.0)), *indexes], default=0.0)
    lines = []
    for place, row in enumerate(study.species):
        progress(f"species {place + 1} of {len(study.species)}")
        seconds = seconds_of_day(study, row.code, solar=False)
        abundance = row.abundance
        low, high = (abundance.low, abundance.high) if abundance.interval_says_something else (0.0, 0.0)
        lines.append(
            SpeciesLine(
                row,
                gallery.best(row.code) if place < SPECIES_WITH_THUMBNAIL else None,
                svg.spark(density(minute_counts(seconds))) if len(seconds) >= LEAST_EVENTS else "",
                low / widest if widest else 0.0,
                min(high / widest, 1.0) if widest else 0.0,
                abundance.index / widest if widest and abundance.index == abundance.index else 0.0,
            )
        )
    return lines


def _kinds(study: Study) -> list[KindShare]:
    total = max(int((study.survey.frames.status == CLASSIFIED).sum()), 1)
    names = {ANIMAL: "animals", BLANK: "blank", UNKNOWN: "unknown", HUMAN: "people", VEHICLE: "vehicles"}
    counts = {kind: _frames_of_kind(study, kind) for kind in names}
    return [
        KindShare(KINDS[kind], name, counts[kind], counts[kind] / total) for kind, name in names.items() if counts[kind]
    ]


def _reviews(study: Study, gallery: Gallery) -> list[ReviewCard]:
    survey = study.survey
    candidates = first_to_review(study)
    paths = frame_paths(survey, [candidate.frame for candidate in candidates])
    cards = []
    for candidate in candidates:
        taxon = survey.taxa[int(survey.records.taxon[candidate.record])]
        (when,) = local_text(survey.frames.local[candidate.frame : candidate.frame + 1])
        cards.append(
            ReviewCard(
                gallery.first(np.array([candidate.frame], np.int32)),
                taxon.common_name or taxon.scientific_name,
                taxon.scientific_name,
                candidate.reason,
                survey.deployments[int(survey.frames.deployment[candidate.frame])].name,
                when.replace("T", " ")[:16] or "no time",
                paths[candidate.frame].name.encode("utf-8", "backslashreplace").decode(),
            )
        )
    return cards


def _unclassified(study: Study) -> UnclassifiedFiles:
    counts = study.survey.status_counts
    reasons = [(reason, n) for (status, reason), n in counts.items() if status == MediaStatus.UNREADABLE]
    return UnclassifiedFiles(
        unreadable=sum(n for _, n in reasons),
        by_reason=sorted(reasons, key=lambda item: -item[1]),
        newest=study.survey.problems[:12],
        pending=int((study.survey.frames.status == PENDING).sum()),
        unsupported=sum(n for (status, _), n in counts.items() if status == MediaStatus.UNSUPPORTED),
    )


def _notes(study: Study) -> list[str]:
    survey = study.survey
    notes: list[str] = []
    frames = survey.frames
    lost = int(((frames.at == NO_TIME) & (frames.status == CLASSIFIED)).sum())
    if lost:
        copied = " (their files were copied or changed, and hold no capture time)" if survey.copied_together else ""
        who, they = ("1 frame has", "it counts") if lost == 1 else (f"{number(lost)} frames have", "they count")
        notes.append(f"{who} no time{copied}: {they} as frames, but in no event, day or hour.")
    if study.left_out:
        aside = int((study.events.animals & ~study.events.clock_good).sum())
        also = f" {counted(aside, 'animal event')} in the exports {'is' if aside == 1 else 'are'} not counted here."
        notes.append(f"{_sentence(study.describe_left_out())}{also if aside else ''}")
    alone = len(study.cameras) == 1
    idle = [survey.deployments[i] for i in study.cameras if not study.efforts[i].trap_nights]
    if idle:
        notes.append(
            f"No start, no end and no believable time is known{_for(idle, alone)}: no trap-nights and no events."
        )
    present = [survey.deployments[place] for place in study.cameras]
    assumed = [d for d in present if not d.zone_known]
    if assumed:
        zones = _listed(sorted({str(d.zone) for d in assumed}))
        notes.append(f"No time zone is set{_for(assumed, alone)}; times are shown in {zones}, as assumed.")
    placeless = [d for d in present if not d.has_place]
    if placeless:
        left_out = (
            "sunrise, sunset and the map" if len(placeless) == len(present) else "sunrise, sunset and the map there"
        )
        notes.append(f"No coordinates are set{_for(placeless, alone)}: {left_out} are left out.")
    open_ = [
        deployment
        for deployment, effort in zip(survey.deployments, study.efforts, strict=True)
        if effort.trap_nights and not (effort.start_given and effort.end_given)
    ]
    if open_:
        notes.append(
            f"No start or end date is set{_for(open_, alone)}: trap-nights run from the first to the last sign of life."
        )
    if survey.duplicates:
        notes.append(f"{number(survey.duplicates)} frames are in more than one database and count once.")
    return notes


def _for(deployments: list[Deployment], alone: bool = False) -> str:
    """Which deployments a note is about; nothing where they are `alone` on the page and have no name."""
    if len(deployments) == 1 and not deployments[0].named:
        return "" if alone and deployments[0].name == "unnamed" else " for frames without a deployment"
    return f" for {_listed([d.name if d.named else f'{d.name} (frames without a deployment)' for d in deployments])}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _with_code(text: str) -> Markup:
    """Escaped text in which what stands in backticks is set as code."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
