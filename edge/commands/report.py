"""`edge-report FORMAT`: reports and exports of one or many detections databases."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from edge import __version__
from edge.commands.report_formats import FORMATS, Format
from edge.commands.runner import ExitCode, Parser, between, run
from edge.database.events.grouping import Rules
from edge.host.one_line import printable
from edge.host.output_file import Guard, OutputError
from edge.host.plain_text import ERASE_LINE, as_it_is
from edge.report.analysis.study import Study
from edge.report.errors import ReportError
from edge.report.output import Output, Progress, Written
from edge.report.processes import no_garbage_collection
from edge.report.read.connection import check_rows, files_named, find_databases, is_small
from edge.report.read.coordinate_obscuring import obscure
from edge.report.read.filters import Selection, moment
from edge.report.read.load import load
from edge.settings.options import Configuration, read_configuration
from edge.settings.strict_toml import SettingsError
from edge.timestamps import zone_named

MOST_MINUTES = 1e6
"""Of an independence interval: two years."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    arguments = _parser().parse_args(argv)
    return run(
        "edge-report",
        lambda: _report(arguments.format, arguments),
        ReportError,
        interrupted="interrupted; a report that is not complete was not put in place",
    )


def _report(chosen: Format, arguments: argparse.Namespace) -> ExitCode:
    if chosen.target != "stdout" and arguments.out is None:
        raise ReportError(f"`edge-report {chosen.name}` needs --out PATH")
    configuration = read_configuration(arguments.config) if arguments.config else Configuration()
    databases = find_databases(arguments.db or [configuration.options.db])
    options = configuration.options
    given = (arguments.config, options.model, options.detector, options.species_list)
    inputs = (*databases, *filter(None, given), *(file for one in databases for file in files_named(one)))
    output = Output(arguments.out, _progress(arguments), Guard(inputs, arguments.force), chosen.is_own)
    if chosen.target != "folder":
        output.check()
    with no_garbage_collection():
        study, written, all_used = _written(chosen, arguments, configuration, databases, output)
    if output.path is not None and not arguments.quiet:
        output.warn(f"wrote {output.path} ({written.contents})")
    filters = study.selection.describe()
    if filters and not len(study.survey.records) and chosen.name != "digest":
        output.warn(f"no frame matches: {'; '.join(filters)}")
    return ExitCode.DONE if all_used and not written.problem_found else ExitCode.PROBLEM


def _written(
    chosen: Format,
    arguments: argparse.Namespace,
    configuration: Configuration,
    databases: list[Path],
    output: Output,
) -> tuple[Study, Written, bool]:
    """Write the report without the rows that cannot be used; also gives whether there was none.

    What a reader of standard output got cannot be taken back, so all rows are checked before; else those of small
    databases, and of the others when the report fails.
    """
    streamed = output.path is None
    left_out = _check_rows([path for path in databases if streamed or is_small(path)], streamed, output)
    failure: Exception | None = None
    try:
        study = _study(arguments, configuration, databases, output)
        return study, chosen.write(study, output, arguments), not left_out
    except (OSError, SettingsError, OutputError):
        raise
    except Exception as error:
        if isinstance(error, ReportError) and error.__cause__ is None:
            raise
        failure = error
    if _check_rows(databases, True, output, left_out) == left_out:
        raise failure
    study = _study(arguments, configuration, databases, output)
    return study, chosen.write(study, output, arguments), False


def _check_rows(databases: list[Path], thorough: bool, output: Output, told: int = 0) -> int:
    """Tell which rows are left out, unless they are those that were told already; gives their number."""
    found = [check_rows(path, thorough) for path in databases]
    total = sum(bad.total for bad in found)
    for bad in found if total != told else ():
        for line in bad.named:
            output.warn(line)
        if bad.total > len(bad.named):
            output.warn(f"{bad.total - len(bad.named)} more rows are left out")
    return total


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="edge-report",
        description="Write reports and exports of one or many detections databases. Databases are only read, "
        "even while edge-classify writes to them.",
        epilog="Exit codes: 0 done; 1 done, and a check found a problem; 2 wrong use or nothing to read; "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"edge-report {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="FORMAT", required=True)
    for format_ in FORMATS:
        sub = commands.add_parser(format_.name, help=format_.summary, description=format_.summary)
        _common(sub)
        format_.add_arguments(sub)
        sub.set_defaults(format=format_)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--db",
        nargs="+",
        action="extend",
        type=Path,
        metavar="DB",
        help="databases, or folders of them; frames of the same content count once (default: detections.db)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="where to write; text goes to standard output without it"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace also a file that is no former report; never a database, an image or what is read",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="[project] and [deployment.ID] of the study")
    parser.add_argument(
        "--time-zone",
        metavar="ZONE",
        type=_zone_name,
        help="zone of cameras for which none is set, such as Europe/Madrid",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="no progress, and no line that tells what was written"
    )
    which = parser.add_argument_group("filters")
    which.add_argument(
        "--since", type=_moment, metavar="TIME", help="today, yesterday, '7 days', 2026-05-01 or 2026-05-01T18:00"
    )
    which.add_argument("--until", type=_until_moment, metavar="TIME", help="the same; a day is included as a whole")
    which.add_argument("--deployment", nargs="+", action="extend", default=[], metavar="ID")
    which.add_argument(
        "--species",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="scientific or common names of taxa of any rank, with all taxa below them",
    )
    which.add_argument(
        "--min-confidence",
        type=between(0, 1),
        default=0.0,
        metavar="P",
        help="leave out decisions of models below P",
    )
    which.add_argument("--reviewed", action="store_true", help="only frames that a person reviewed")
    which.add_argument(
        "--model", default="", metavar="NAME", help="model whose decisions count (default: the pinned model)"
    )
    parser.add_argument(
        "--obscure",
        type=between(0, 1000),
        metavar="KM",
        default=0.0,
        help="coarsen coordinates to squares of KM: of cameras that recorded a species listed as `sensitive` in "
        "[project], or of all cameras without such a list",
    )
    events = parser.add_argument_group("events")
    events.add_argument(
        "--interval",
        type=between(0, MOST_MINUTES),
        default=30.0,
        metavar="MINUTES",
        help="independence interval (default: 30)",
    )
    events.add_argument(
        "--species-interval",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=MINUTES",
        help="interval of one taxon, by scientific name",
    )


def _moment(text: str, end: bool = False) -> datetime:
    try:
        return moment(text, end)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _until_moment(text: str) -> datetime:
    """The end of a period: a day named as the end belongs to the period."""
    return _moment(text, end=True)


def _zone_name(text: str) -> str:
    try:
        return str(zone_named(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _rules(arguments: argparse.Namespace) -> Rules:
    by_taxon = {}
    for text in arguments.species_interval:
        name, _, minutes = text.rpartition("=")
        try:
            by_taxon[name] = round(between(0, MOST_MINUTES)(minutes) * 60)
        except (ValueError, argparse.ArgumentTypeError):
            raise ReportError(
                f"--species-interval {text!r}: expected NAME=MINUTES, such as 'Lepus capensis=60'"
            ) from None
    return Rules(interval_s=round(arguments.interval * 60), by_taxon=by_taxon)


def _study(arguments: argparse.Namespace, configuration: Configuration, databases: list[Path], output: Output) -> Study:
    since, until = arguments.since, arguments.until
    if since is None and until is None and hasattr(arguments, "default_period"):
        since, until = arguments.default_period
    selection = Selection(
        since,
        until,
        tuple(arguments.deployment),
        tuple(arguments.species),
        arguments.min_confidence,
        arguments.reviewed,
        arguments.model,
    )
    rules = _rules(arguments)
    survey = load(
        databases,
        selection,
        overrides=configuration.deployments,
        time_zone=arguments.time_zone or configuration.options.time_zone,
        rules=rules,
        progress=output.progress,
        warn=output.warn,
    )
    if arguments.obscure > 0:
        survey = obscure(survey, arguments.obscure, configuration.project.sensitive)
    return Study(survey, selection, rules, configuration.project)


def _progress(arguments: argparse.Namespace) -> Progress:
    """Progress for a person at a terminal; none for scripts."""
    if arguments.quiet or not sys.stderr.isatty():
        return lambda line: None
    terminal = as_it_is(sys.stderr)

    def show(line: str) -> None:
        print(f"{ERASE_LINE}{printable(line)}", end="" if line else ERASE_LINE, file=terminal, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
