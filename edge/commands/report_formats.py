"""Every format that `edge-report` writes, with the arguments of its own."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from edge.host.output_file import IsOwn, unlike_any
from edge.report.analysis.activity import REPLICATES
from edge.report.analysis.study import Study
from edge.report.formats import (
    activity,
    camtrap_dp,
    csv,
    detection_history,
    digest,
    events,
    health,
    jsonl,
    megadetector,
    parquet,
    wildlife_insights,
)
from edge.report.output import Output, Written
from edge.report.page import page


@dataclass(frozen=True, slots=True)
class Format:
    """One of the formats that `edge-report` writes."""

    name: str
    summary: str
    write: Callable[[Study, Output, Namespace], Written]
    add_arguments: Callable[[ArgumentParser], None] = lambda parser: None
    target: Literal["stdout", "file", "folder"] = "stdout"
    """`stdout` for text that may go to standard output, `file` or `folder` where --out is required."""
    is_own: IsOwn = unlike_any
    """Tells a former output of this format; of the files in a folder the format itself does."""


def _without_options(write: Callable[[Study, Output], Written]) -> Callable[[Study, Output, Namespace], Written]:
    return lambda study, output, _: write(study, output)


def _write_page(study: Study, output: Output, given: Namespace) -> Written:
    return page.write(study, output, with_images=not given.no_pictures, solar_time=given.solar_time)


def _add_page_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--no-pictures", action="store_true", help="leave all frames out of the page")
    _add_solar_time(parser)


def _write_detection_history(study: Study, output: Output, given: Namespace) -> Written:
    return detection_history.write(study, output, given.occasion_days, given.all_taxa)


def _add_detection_history_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--occasion-days", type=at_least(1), default=7, metavar="N", help="days in one occasion (default: 7)"
    )
    parser.add_argument("--all-taxa", action="store_true", help="include taxa above species rank")


def _write_activity(study: Study, output: Output, given: Namespace) -> Written:
    return activity.write(study, output, given.min_events, given.solar_time, given.replicates)


def _add_activity_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--min-events", type=at_least(1), default=20, metavar="N", help="leave out species with fewer (default: 20)"
    )
    _add_solar_time(parser)
    parser.add_argument(
        "--replicates", type=at_least(0), default=REPLICATES, metavar="N", help=f"bootstrap samples ({REPLICATES})"
    )


def _write_digest(study: Study, output: Output, given: Namespace) -> Written:
    return digest.write(study, output, given.max_bytes, given.json)


def _add_digest_arguments(parser: ArgumentParser) -> None:
    parser.description = "One day in the bytes of a text message. Without --since and --until: yesterday."
    size = at_least(digest.LEAST_BYTES)
    help_ = "140 is one SMS (default), 51 one slow LoRa packet"
    parser.add_argument("--max-bytes", type=size, default=140, metavar="N", help=help_)
    parser.add_argument("--json", action="store_true", help="one JSON object, for MQTT; --max-bytes is ignored")
    midnight = datetime.combine(date.today(), datetime.min.time())  # noqa: DTZ011 - the reader's own day is meant
    parser.set_defaults(default_period=(midnight - timedelta(days=1), midnight))


def _add_solar_time(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--solar-time",
        action="store_true",
        help="activity in solar time: sunrise at 6, sunset at 18 (needs coordinates)",
    )


def at_least(least: int) -> Callable[[str], int]:
    """A type of argument: whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        if (value := int(text)) < least:
            raise ArgumentTypeError(f"{value} is too small; expected {least} or more")
        return value

    return whole_number


FORMATS = (
    Format(
        "html",
        "One page to read, print and share; works offline.",
        _write_page,
        _add_page_arguments,
        "file",
        page.is_own,
    ),
    Format("csv", "One line for each frame and taxon.", _without_options(csv.write), is_own=csv.is_own),
    Format(
        "events", "One line for each independent event, as CSV.", _without_options(events.write), is_own=events.is_own
    ),
    Format("jsonl", "The same as csv, one JSON object per line.", _without_options(jsonl.write), is_own=jsonl.is_own),
    Format(
        "parquet",
        "The same as csv with types, for data frames (extra `parquet`).",
        _without_options(parquet.write),
        target="file",
        is_own=parquet.is_own,
    ),
    Format(
        "camtrap-dp",
        "A Camtrap DP 1.0.2 package: a folder, or a .zip file.",
        _without_options(camtrap_dp.write),
        target="folder",
    ),
    Format(
        "megadetector",
        "MegaDetector batch results 1.6, for Timelapse and others.",
        _without_options(megadetector.write),
        is_own=megadetector.is_own,
    ),
    Format(
        "wildlife-insights",
        "images.csv and deployments.csv to upload.",
        _without_options(wildlife_insights.write),
        target="folder",
    ),
    Format(
        "detection-history",
        "Sites x occasions for each species, for occupancy models.",
        _write_detection_history,
        _add_detection_history_arguments,
        "folder",
    ),
    Format(
        "activity",
        "Activity curves and overlaps between species.",
        _write_activity,
        _add_activity_arguments,
        "folder",
    ),
    Format(
        "health",
        "One line for each problem of a camera; exit code 1 if any.",
        _without_options(health.write),
        is_own=health.is_own,
    ),
    Format(
        "digest",
        "One day in a text message, or as JSON for MQTT.",
        _write_digest,
        _add_digest_arguments,
        is_own=digest.is_own,
    ),
)
