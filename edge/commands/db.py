"""`edge-db COMMAND`: back up, salvage, retime, assign, label and prune a database of detections, or import into it."""

import argparse
import os
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from edge import __version__
from edge.commands.db_assign import add_assign_arguments, run_assign
from edge.commands.db_labels import add_import_arguments, add_label_arguments, run_import, run_label
from edge.commands.db_use_model import add_use_model_arguments, run_use_model
from edge.commands.runner import ExitCode, Parser, run
from edge.database.backup import back_up
from edge.database.corrections.assign import AssignError
from edge.database.corrections.retime import (
    Correction,
    RetimeError,
    deployment_named,
    describe_clock,
    retime_deployment,
    seconds_in_words,
    undo_retime,
)
from edge.database.decisions.model_choice import ModelChoiceError
from edge.database.imports.import_result import ImportProblem
from edge.database.imports.table_file import BadValue
from edge.database.prune import MOST, PruneRules, prune
from edge.database.repair.recovery import find_damage
from edge.database.repair.salvage import salvage
from edge.database.schema import SchemaError, open_database
from edge.host.output_file import Guard, unlike_any
from edge.settings.strict_toml import SettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    arguments = _parser().parse_args(argv)
    return run(
        "edge-db",
        lambda: _run(arguments),
        SchemaError,
        RetimeError,
        AssignError,
        ModelChoiceError,
        ImportProblem,
        BadValue,
        OSError,
        UnicodeEncodeError,  # an argument that no terminal can show
    )


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.db.is_file():
        raise SettingsError(f"{arguments.db} is not there; name the database with --db")
    try:
        return int(arguments.run(arguments))
    except sqlite3.DatabaseError as error:
        raise SettingsError(f"{arguments.db}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "edge-db",
        description="Look after a database of detections.",
        epilog="exit codes: 0 done; 1 done, but a check found a problem; 2 wrong use; 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"edge-db {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        command.add_argument(
            "--db", type=Path, default=Path("detections.db"), metavar="FILE", help="default: detections.db here"
        )
        return command

    backup = add("backup", _backup, "copy the database, while it is in use")
    backup.add_argument("out", type=Path, metavar="OUT", help="file to write; it must not be there yet")
    salvage = add("salvage", _salvage, "read what can be read of a damaged database into a new one")
    salvage.add_argument("out", type=Path, metavar="OUT", help="new database; it must not be there yet")
    _add_retime_arguments(add("retime", _retime, "correct the clock of a whole deployment"))
    add_assign_arguments(add("assign", run_assign, "say which camera frames belong to"))
    add_use_model_arguments(add("use-model", run_use_model, "say whose decisions count, and work out events anew"))
    _add_prune_arguments(
        add("prune", _prune, "make room: show, and with --yes delete, frames that are logged and not needed")
    )
    add_import_arguments(add("import", run_import, "import what a model found elsewhere, or the labels of people"))
    add_label_arguments(add("label", run_label, "say what one frame shows"))
    return parser


def _backup(arguments: argparse.Namespace) -> int:
    db, out = arguments.db, arguments.out
    _refuse_to_overwrite(db, out)
    back_up(db, out)
    if (damage := find_damage(out)) is not None:
        print(f"edge-db: {out}: the copy is damaged as the database is ({damage}); try `edge-db salvage`")
        return ExitCode.PROBLEM
    with closing(open_database(out, read_only=True)) as copy:
        (frames,) = copy.execute("SELECT count(*) FROM media WHERE status = 'classified'").fetchone()
    print(f"{out}: {frames} frames, {out.stat().st_size:,} bytes, checked")
    return ExitCode.DONE


def _salvage(arguments: argparse.Namespace) -> int:
    _refuse_to_overwrite(arguments.db, arguments.out)
    report = salvage(arguments.db, arguments.out)
    print(f"{arguments.out}: {report}")
    return ExitCode.PROBLEM if report.gaps else ExitCode.DONE


def _refuse_to_overwrite(db: Path, out: Path) -> None:
    if os.path.lexists(out):
        raise SettingsError(f"{out} is there already; choose another name, nothing is written over")
    Guard((db,)).check(out, unlike_any)  # a companion of a database may not be there at this moment


def _add_retime_arguments(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--deployment", metavar="ID", help="alone it shows the times, their doubts and earlier retimes")
    whose.add_argument("--no-deployment", action="store_true", help="the frames without a deployment")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--shift", metavar="TIME", help="such as +1h, -2d3h, +45m10s (write --shift=-2d3h); 0s: they are right"
    )
    how.add_argument(
        "--anchor",
        nargs=2,
        metavar=("FRAME", "TIME"),
        help="a frame's file name or media id, and when it was really taken: '2024-05-01 13:45:10', in the"
        " deployment's zone unless it has an offset",
    )
    how.add_argument("--undo", type=int, metavar="N", help="give the frames that retime N moved their former times")
    parser.add_argument("--from", dest="first", metavar="TIME", help="only frames logged at or after this (UTC)")
    parser.add_argument("--until", dest="last", metavar="TIME", help="only frames logged at or before this (UTC)")
    parser.add_argument("--files-too", action="store_true", help="also frames whose time is the file's or an edit's")
    parser.add_argument("--note", metavar="TEXT", help="why, for those who read the database later")
    parser.add_argument("--by", metavar="NAME", help="who corrects (default: the login name)")


def _retime(arguments: argparse.Namespace) -> int:
    name, unnamed = arguments.deployment, arguments.no_deployment
    if arguments.undo is None and name is None and not unnamed:
        raise SettingsError("whose clock? give --deployment ID or --no-deployment")
    if arguments.undo is not None and (name is not None or unnamed):
        raise SettingsError("--undo N takes no deployment: the retime names it")
    with closing(open_database(arguments.db)) as connection:
        if arguments.undo is not None:
            done = undo_retime(connection, arguments.undo, arguments.by, arguments.note)
        else:
            name = name if name is None else deployment_named(connection, arguments.db, name)
            if arguments.shift is None and arguments.anchor is None:
                print(*describe_clock(connection, name), sep="\n")
                return ExitCode.DONE
            done = retime_deployment(
                connection,
                Correction(
                    name,
                    arguments.shift,
                    arguments.anchor and tuple(arguments.anchor),
                    arguments.first,
                    arguments.last,
                    arguments.files_too,
                    arguments.note,
                    arguments.by,
                ),
            )
    left = f", {done.left} left for their file told another time since" if done.left else ""
    print(
        f"{done.deployment or 'frames without a deployment'}: {done.frames} frames moved by"
        f" {seconds_in_words(done.shift)}{left}, {done.events} events worked out anew; this is retime {done.id}"
        f" (--undo={done.id}); undo with --shift={seconds_in_words(-done.shift)}"
    )
    return ExitCode.DONE


def _add_prune_arguments(parser: argparse.ArgumentParser) -> None:
    rules = PruneRules()
    parser.add_argument("--yes", action="store_true", help="delete; without it the list is shown and nothing deleted")
    parser.add_argument("--free-bytes", type=_whole, metavar="N", help="stop when the disk has this much room")
    parser.add_argument("--older-than-days", type=_days, metavar="N", help="only frames taken and received longer ago")
    parser.add_argument(
        "--keep-best", type=_whole, metavar="N", help=f"keep the best N of each taxon (default {rules.keep_best})"
    )
    parser.add_argument(
        "--rare",
        type=_whole,
        default=rules.rare,
        metavar="N",
        help="keep all frames of a taxon with at most N of them (default %(default)s)",
    )
    parser.add_argument("--unknown-too", action="store_true", help="also unreviewed frames whose decision is unknown")


def _whole(text: str) -> int:
    """A number of bytes or frames."""
    number = int(text)
    if not 0 <= number < MOST:
        raise ValueError
    return number


def _days(text: str) -> float:
    """A number of days; no infinity, which would mean every frame or none."""
    days = float(text)
    if not 0 <= days <= 100_000:  # nan is neither
        raise ValueError
    return days


_whole.__name__, _days.__name__ = "whole number", "number of days"  # what argparse calls them


def _prune(arguments: argparse.Namespace) -> int:
    keep_best = arguments.keep_best
    if arguments.free_bytes is None and arguments.older_than_days is None and keep_best is None:
        raise SettingsError(
            "prune needs to know how much: --free-bytes N, --older-than-days N or --keep-best N; nothing was deleted"
        )
    rules = PruneRules(
        PruneRules().keep_best if keep_best is None else keep_best,
        arguments.rare,
        arguments.unknown_too,
        arguments.older_than_days,
        arguments.free_bytes,
    )
    files = file_bytes = failed = 0
    with closing(open_database(arguments.db)) as connection:
        for candidate, error in prune(connection, rules, delete=arguments.yes):
            if error is not None:
                print(f"edge-db: {candidate.path!a}: {error.strerror}", file=sys.stderr)
                failed += 1
                continue
            if not arguments.yes:
                print(f"{candidate.bytes:>12,}  {candidate.label}  {ascii(candidate.path)[1:-1]}")
            files += 1
            file_bytes += candidate.bytes
    verb = "deleted" if arguments.yes else "could go; nothing was deleted, --yes does it"
    print(f"{files} files, {file_bytes:,} bytes {verb} ({rules.describe()})")
    return ExitCode.PROBLEM if failed else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
