"""`edge-report activity`: density curves and overlap coefficients between species, as CSV and as a figure."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, BinaryIO

import numpy as np

from edge.host.output_file import LONGEST_LINE, begins_with
from edge.report.analysis.activity import MINUTES, REPLICATES, Sample, density, minute_counts, overlap_of
from edge.report.analysis.study import Study
from edge.report.formats.csv import write_table
from edge.report.output import Output, Written, as_text, counted, utf8
from edge.report.page import svg
from edge.report.page.charts import seconds_of_day
from edge.report.page.page import environment
from edge.report.read.columns import column_names

STEP_MINUTES = 10
MOST_SPECIES = 40  # pairs grow with the square


def write(
    study: Study, output: Output, min_events: int = 20, solar_time: bool = False, replicates: int = REPLICATES
) -> Written:
    """activity.csv, overlap.csv and activity.svg, into the folder that --out names."""
    output.check(*MEMBERS.items())
    counts: dict[str, Any] = {}
    for row in study.species:
        seconds = seconds_of_day(study, row.code, solar_time)
        if row.taxon.rank == "species" and len(seconds) >= max(1, min_events):
            counts[row.taxon.scientific_name] = minute_counts(seconds)
        if len(counts) == MOST_SPECIES:
            break
    curves = {name: density(count) for name, count in counts.items()}
    hours = np.arange(0, MINUTES, STEP_MINUTES)
    with output.member("activity.csv", _is_activity) as file, as_text(file) as text:
        write_table(
            text,
            ["hour", *curves],
            ([round(m / 60, 4), *(round(float(curve[m]), 6) for curve in curves.values())] for m in hours.tolist()),
        )
    with output.member("overlap.csv", MEMBERS["overlap.csv"]) as file, as_text(file) as text:
        write_table(text, _COLUMNS, _overlaps(counts, replicates, output))
    with output.member("activity.svg", _is_figure) as file:
        file.write(utf8(_figure(counts, curves, solar_time)))
    if not counts:
        output.warn(f"no species has {min_events} events; --min-events lowers that")
    output.progress("")
    return Written(counted(len(counts), "species", "species"))


_COLUMNS = column_names(
    "first second first_events second_events dhat1 dhat1_low dhat1_high dhat4 dhat4_low dhat4_high advised"
)


def _is_activity(file: BinaryIO) -> bool:
    return file.readline(LONGEST_LINE).startswith((b"hour,", b"hour\n")) and file.read(3) == b"0.0"


def _is_figure(file: BinaryIO) -> bool:
    return b"<title>Activity over the day" in file.read(1024)


MEMBERS = {"activity.csv": _is_activity, "overlap.csv": begins_with(*_COLUMNS), "activity.svg": _is_figure}
"""The files of this format, and what tells former ones."""


def _overlaps(counts: dict[str, Any], replicates: int, output: Output) -> list[tuple[Any, ...]]:
    """One line for each pair, most alike first; `advised` is Dhat4 from 75 events each."""
    samples = {name: Sample.of(count, replicates, seed) for seed, (name, count) in enumerate(counts.items())}
    lines = []
    for first, second in combinations(samples, 2):
        output.progress(f"overlap of {first} and {second}")
        found = overlap_of(samples[first], samples[second])
        values = (found.dhat1, *found.dhat1_interval, found.dhat4, *found.dhat4_interval)
        lines.append((found.value, (first, second, *found.events, *(round(v, 4) for v in values), found.estimator)))
    return [line for _, line in sorted(lines, key=lambda item: -item[0])]


@dataclass(frozen=True, slots=True)
class Panel:
    """The activity curve of one species."""

    name: str
    events: int
    path: str


def _figure(counts: dict[str, Any], curves: dict[str, Any], solar: bool) -> str:
    panels = [Panel(name, int(counts[name].sum()), svg.spark(curve, 220, 70)) for name, curve in curves.items()]
    return environment().get_template("activity.svg.jinja").render(panels=panels, solar=solar)
