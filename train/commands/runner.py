"""Commands of `train` and `export`: find the one asked for, run it, end in one line where something is wrong."""

import errno
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from edge.commands import runner
from train import TrainError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Commands = Mapping[str, tuple[str, str]]
"""Command -> (module with `main(argv) -> int`, what it does in one line)."""


def run(program: str, commands: Commands, expected: tuple[type[Exception], ...], argv: Sequence[str]) -> int:
    """Run one command. Returns the exit code: its own; 2 for wrong use, for a full disk, and for the `expected` errors,
    whose text is the one line that says it; 130 when interrupted.
    """
    return runner.run(program, lambda: _run(program, commands, argv), TrainError, *expected, paragraphs=True)


def not_negative(text: str) -> int:
    """For `argparse`: 0 or more."""
    value = int(text)
    if value < 0:
        raise ArgumentTypeError(f"{text} is less than 0")
    return value


def add_machine_options(parser: ArgumentParser) -> None:
    """What `train.runtime.distributed.started` takes."""
    parser.add_argument("--threads", type=not_negative, help="threads of the arithmetic (default: all cores)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of the disk into a `TrainError`."""
    try:
        yield
    except OSError as error:
        raise TrainError(f"{path} cannot be written ({error.strerror or error}); choose another --out") from error


def _run(program: str, commands: Commands, argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: python -m {program} COMMAND [options]\n\ncommands:")
        for name, (_, purpose) in commands.items():
            print(f"  {name:<10} {purpose}")
        print(f"\n`python -m {program} COMMAND --help` explains a command's options.")
        return 0 if argv else 2
    if argv[0] not in commands:
        print(f"{program}: there is no command {argv[0]!r}, expected one of {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        return int(import_module(commands[argv[0]][0]).main(argv[1:]))
    except OSError as error:
        # Every table and image may be the one that the disk has no room for.
        if error.errno not in _NO_ROOM:
            raise
        what = error.filename or "what this command makes"
        raise TrainError(f"{what} cannot be written ({error.strerror}); make room and run it again") from error
