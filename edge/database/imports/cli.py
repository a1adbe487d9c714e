"""The `import` command of `edge-db`: its arguments, and its run."""

import argparse
import sqlite3
import sys
from pathlib import Path

from edge.database.imports import camtrap_dp, megadetector
from edge.database.imports.import_result import ImportProblem, ImportResult
from edge.database.schema import SchemaError, open_database

FORMATS = ("megadetector", "camtrap-dp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`FORMAT FILE` and its options; `--db` is the caller's."""
    parser.add_argument("format", choices=FORMATS, help="megadetector: boxes (JSON); camtrap-dp: labels of people")
    parser.add_argument("file", type=Path, metavar="FILE", help="the JSON file, or the package's folder or zip")
    parser.add_argument(
        "--min-confidence", type=float, default=0.2, metavar="P", help="leave out boxes below P (default: 0.2)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Import into `arguments.db`; exit code 0 done, 1 when some names are no frame here, 2 when nothing could be."""
    if not arguments.db.is_file():
        print(f"edge-db: {arguments.db}: no such database; `edge-classify` makes one", file=sys.stderr)
        return 2
    try:
        connection = open_database(arguments.db)
        try:
            outcome = import_into(connection, arguments.format, arguments.file, arguments.min_confidence)
        finally:
            connection.close()
    except (ImportProblem, SchemaError, sqlite3.DatabaseError) as error:
        print(f"edge-db: {error}", file=sys.stderr)
        return 2
    print(outcome.describe())
    return 1 if outcome.not_found else 0


def import_into(
    connection: sqlite3.Connection, format_: str, file: Path, least_confidence: float = 0.2
) -> ImportResult:
    """Import a file of one of `FORMATS`. Raises `ImportProblem`."""
    if format_ == "megadetector":
        return megadetector.import_file(connection, file, least_confidence)
    return camtrap_dp.import_package(connection, file)
