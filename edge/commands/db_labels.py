"""`edge-db import` and `edge-db label`: their arguments, and what they print."""

import argparse
import os
import sys
from contextlib import closing
from pathlib import Path

from edge.commands.runner import ExitCode, between
from edge.database.corrections.audit import login_name
from edge.database.corrections.label import Label, label_frame
from edge.database.imports.camtrap_dp import import_package
from edge.database.imports.labels import import_labels
from edge.database.imports.megadetector import import_file
from edge.database.imports.speciesnet import import_predictions
from edge.database.imports.table_file import count_of
from edge.database.schema import open_database
from edge.host.named_file import check_regular

FORMATS = {
    "megadetector": "bounding boxes of MegaDetector (JSON)",
    "speciesnet": "predictions of SpeciesNet (JSON)",
    "camtrap-dp": "labels of people in a Camtrap DP package (folder or zip)",
    "labels": "labels of people in a table (CSV: file, species, count, sex, life stage, behaviour, by)",
}


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edge-db import`."""
    parser.add_argument("format", choices=FORMATS, help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()))
    parser.add_argument("file", type=Path, metavar="FILE", help="the file, or the package's folder or zip")
    parser.add_argument(
        "--min-confidence", type=between(0, 1), default=0.2, metavar="P", help="leave out boxes below P (default: 0.2)"
    )
    parser.add_argument("--strip", default="", metavar="FOLDER", help="leading folder to take off the file names")
    parser.add_argument("--by", metavar="NAME", help="who labelled, where a table does not say (default: your login)")


def run_import(arguments: argparse.Namespace) -> int:
    """Import, and say what was left out."""
    file, strip = arguments.file, arguments.strip
    if not file.is_dir():
        check_regular(os.stat(file), file)
    with closing(open_database(arguments.db)) as connection:
        match arguments.format:
            case "megadetector":
                result = import_file(connection, file, arguments.min_confidence, strip)
            case "speciesnet":
                result = import_predictions(connection, file, arguments.min_confidence, strip)
            case "camtrap-dp":
                result = import_package(connection, file, strip)
            case _:
                result = import_labels(connection, file, arguments.by or login_name(), strip)
    for line in result.details():
        print(f"edge-db: {line}", file=sys.stderr)
    print(result.describe())
    return ExitCode.DONE if result.complete else ExitCode.PROBLEM


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edge-db label`."""
    parser.add_argument("frame", metavar="FRAME", help="its media id, or its path or the end of it")
    parser.add_argument("taxon", metavar="TAXON", help="scientific or common name; or blank, human, vehicle, unknown")
    parser.add_argument("--count", metavar="N", help="how many there are")
    parser.add_argument("--sex", metavar="TEXT", help="such as female")
    parser.add_argument("--life-stage", metavar="TEXT", help="such as juvenile")
    parser.add_argument("--behaviour", metavar="TEXT", help="such as drinking")
    parser.add_argument("--rank", default="", metavar="RANK", help="of a taxon that no model of the database knows")
    parser.add_argument("--note", metavar="TEXT", help="for those who read the database later")
    parser.add_argument("--by", metavar="NAME", help="who says so (default: your login)")


def run_label(arguments: argparse.Namespace) -> int:
    """Label one frame."""
    label = Label(
        arguments.frame,
        arguments.taxon,
        arguments.by or login_name(),
        arguments.rank,
        count_of(arguments.count or "", "--count"),
        arguments.sex,
        arguments.life_stage,
        arguments.behaviour,
        arguments.note,
    )
    with closing(open_database(arguments.db)) as connection:
        done = label_frame(connection, label)
    said = f"{done.line.taxon or done.line.kind}{f' {done.line.count}' if done.line.count else ''}"
    print(f"{ascii(done.path)[1:-1]}: {said} by {label.by} (before: {done.before})")
    return ExitCode.DONE
