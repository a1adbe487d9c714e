"""edge-db: looks after a database of detections."""

import argparse
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge import __version__
from edge.database import backup, prune, retime
from edge.database.imports import cli as imports
from edge.database.schema import SchemaError

DONE, PROBLEM, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that `edge-db` does."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Gives the exit code; `arguments.db` is the database."""


COMMANDS = (
    Command("backup", "copy the database, while it is in use", backup.add_arguments, backup.run),
    Command("salvage", "read what can be read of a damaged database into a new one", backup.add_salvage_arguments,
            backup.run_salvage),
    Command("retime", "correct the clock of a whole deployment", retime.add_arguments, retime.run),
    Command("prune", "make room: show, and with --yes delete, frames that are logged and not needed",
            prune.add_arguments, prune.run),
    Command("import", "take in boxes of a detector or labels of people", imports.add_arguments, imports.run),
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(
        "edge-db",
        description="Look after a database of detections.",
        epilog="exit codes: 0 done; 1 done, but a check found a problem; 2 wrong use; 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"edge-db {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        own = commands.add_parser(command.name, help=command.summary, description=command.summary)
        own.add_argument(
            "--db", type=Path, default=Path("detections.db"), metavar="FILE", help="default: detections.db here"
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (SchemaError, OSError) as error:
        print(f"edge-db: {error}", file=sys.stderr)
    except sqlite3.DatabaseError as error:
        print(f"edge-db: {arguments.db}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return WRONG_USE


if __name__ == "__main__":
    sys.exit(main())
