"""A copy of the database while it is in use, and a healthy database out of a damaged one."""

import argparse
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from edge.database.recovery import find_damage
from edge.database.salvage import salvage
from edge.database.schema import open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="file to write; it must not be there yet")


def run(arguments: argparse.Namespace) -> int:
    """Back up `arguments.db`; 0 done, 1 the copy is damaged, 2 wrong use."""
    if (problem := _not_ready(arguments.db, arguments.out)) is not None:
        print(f"edge-db: {problem}", file=sys.stderr)
        return 2
    back_up(arguments.db, arguments.out)
    if (damage := find_damage(arguments.out)) is not None:
        print(f"edge-db: {arguments.out}: the copy is damaged as the database is ({damage}); try `edge-db salvage`")
        return 1
    with closing(open_database(arguments.out, read_only=True)) as copy:
        (frames,) = copy.execute("SELECT count(*) FROM media WHERE status = 'classified'").fetchone()
    print(f"{arguments.out}: {frames} frames, {arguments.out.stat().st_size:,} bytes, checked")
    return 0


def back_up(db: Path, out: Path) -> None:
    """Copy the database as it is at one moment, with what only its write-ahead log holds; complete or not at all."""
    part = out.with_name(out.name + ".part")
    part.unlink(missing_ok=True)
    original = f"{db.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(original, uri=True, timeout=10)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        # One file without companions, so that copying it further loses nothing.
        copy.execute("PRAGMA journal_mode = DELETE")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, out)


def add_salvage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="new database; it must not be there yet")


def run_salvage(arguments: argparse.Namespace) -> int:
    """Salvage `arguments.db`, which is only read, into a new database."""
    if (problem := _not_ready(arguments.db, arguments.out)) is not None:
        print(f"edge-db: {problem}", file=sys.stderr)
        return 2
    with closing(open_database(arguments.out)) as fresh:
        report = salvage(arguments.db, fresh)
    print(f"{arguments.out}: {report}")
    return 1 if report.gaps else 0


def _not_ready(db: Path, out: Path) -> str | None:
    if not db.is_file():
        return f"{db} is not there; name the database with --db"
    if out.exists():
        return f"{out} is there already; choose another name, nothing is written over"
    return None
