"""`edge-db use-model`: its arguments, and what it prints."""

import argparse
from contextlib import closing

from edge.commands.runner import ExitCode
from edge.database.corrections.audit import login_name
from edge.database.decisions.model_choice import use_model
from edge.database.schema import open_database


def add_use_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `edge-db use-model`."""
    parser.add_argument("model", metavar="NAME", help="name@version, or the beginning of the model's SHA-256")
    parser.add_argument(
        "--configuration", type=int, metavar="ID", help="id in table configuration (default: that of its newest run)"
    )
    parser.add_argument("--by", metavar="NAME", help="who says so (default: your login)")


def run_use_model(arguments: argparse.Namespace) -> int:
    """Pin a model and a configuration."""
    by = arguments.by or login_name()
    with closing(open_database(arguments.db)) as connection:
        pinned = use_model(connection, arguments.model, arguments.configuration, by)
    others = f"; it also ran under configuration {', '.join(map(str, pinned.others))}" if pinned.others else ""
    print(f"reports use {pinned.name}: {pinned.frames} frames, {pinned.events} events worked out anew{others}")
    return ExitCode.DONE
