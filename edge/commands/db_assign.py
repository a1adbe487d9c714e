"""`edge-db assign`: its arguments, and what it prints."""

import argparse
import os
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from edge.commands.runner import ExitCode
from edge.database.corrections.assign import Assigned, AssignError, Choice, assign, choose_frames, undo_assignment
from edge.database.corrections.audit import login_name
from edge.database.schema import open_database
from edge.host.text_file import decoded


def add_assign_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edge-db assign`."""
    parser.add_argument("deployment", nargs="?", metavar="ID", help="the camera that the frames belong to")
    which = parser.add_argument_group("which frames; everything that is given must hold")
    which.add_argument(
        "--folder", metavar="PATTERN", help="frames with a file below this folder, or below folders such as '*/100CARD'"
    )
    which.add_argument("--paths", metavar="FILE", help="a text file with one path of a frame a line; - reads the input")
    which.add_argument(
        "--from", dest="first", metavar="TIME", help="frames taken at or after this, by the camera's zone"
    )
    which.add_argument("--until", dest="last", metavar="TIME", help="frames taken at or before this; a day as a whole")
    which.add_argument("--of", metavar="ID", help="frames of this deployment now; unnamed: of none")
    parser.add_argument("--new", action="store_true", help="the deployment is not known yet; make it")
    parser.add_argument(
        "--yes", action="store_true", help="assign; without it the frames are shown and nothing changes"
    )
    parser.add_argument("--undo", type=int, metavar="NUMBER", help="undo an assignment, or an undo, by its number")
    parser.add_argument("--by", metavar="NAME", help="who says so (default: your login)")
    parser.add_argument("--note", metavar="TEXT", help="why, for those who read the database later")


def run_assign(arguments: argparse.Namespace) -> int:
    """Show the frames that are meant, or assign them."""
    by = arguments.by if arguments.by is not None else login_name()
    choice = Choice(arguments.folder, _paths(arguments.paths), arguments.first, arguments.last, arguments.of)
    if (arguments.undo is None) == (arguments.deployment is None) or (arguments.undo and choice != Choice()):
        raise AssignError("give either the ID of a deployment and which frames, or --undo NUMBER alone")
    with closing(open_database(arguments.db)) as connection:
        if arguments.undo is not None:
            _print_done(undo_assignment(connection, arguments.undo, by, arguments.note), "undone")
            return ExitCode.DONE
        chosen = choose_frames(connection, choice)
        for path in chosen.not_found:
            print(f"edge-db: {ascii(path)[1:-1]}: not one logged frame is called so", file=sys.stderr)
        if arguments.yes:
            done = assign(connection, chosen.frames, arguments.deployment, by, arguments.note, arguments.new)
            _print_done(done, f"assigned to {arguments.deployment}")
        else:
            for path in chosen.examples:
                print(f"  {ascii(path)[1:-1]}")
            now = ", ".join(f"{count} of {name or 'no deployment'}" for name, count in chosen.by_deployment.items())
            print(
                f"{len(chosen.frames)} frames ({now}) could be assigned to {arguments.deployment};"
                " nothing was changed, --yes does it"
            )
    return ExitCode.PROBLEM if chosen.not_found else ExitCode.DONE


def _print_done(done: Assigned, verb: str) -> None:
    moves = ", ".join(
        f"{count} from {old or 'no deployment'} to {new or 'no deployment'}"
        for (old, new), count in Counter(done.moves).items()
    )
    print(f"{done.frames} frames {verb} ({moves or 'all were there'}); undo with `edge-db assign --undo {done.id}`")


def _paths(source: str | None) -> tuple[str, ...] | None:
    """The lines of a list of paths; names that are no UTF-8 are kept as they are."""
    if source is None:
        return None
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    try:
        text = decoded(content)
    except UnicodeDecodeError:
        text = os.fsdecode(content)
    return tuple(line for line in map(str.strip, text.splitlines()) if line)
