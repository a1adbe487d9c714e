"""What every command does alike: exit codes, errors in one line, closed pipes and Ctrl-C."""

import argparse
import os
import select
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import NoReturn

from edge.host.one_line import printable
from edge.host.output_file import OutputError
from edge.host.plain_text import plain_streams
from edge.settings import SettingsError


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    PROBLEM = 1
    """Done, but a check found a problem or a file could not be read."""
    WRONG_USE = 2
    INTERRUPTED = 130
    """Stopped by a signal before it was done."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors quote what was given as plain text."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def run(name: str, command: Callable[[], int], *errors: type[Exception], interrupted: str = "interrupted") -> int:
    """Run a command and give its exit code.

    `errors` are those that the user can mend: like `SettingsError` and `OutputError` they are printed in one line. All
    that a command prints goes through `PlainText`.
    """
    with plain_streams():
        return _run(name, command, (SettingsError, OutputError, *errors), interrupted)


def _run(name: str, command: Callable[[], int], mendable: tuple[type[Exception], ...], interrupted: str) -> int:
    try:
        code = command()
        sys.stdout.flush()
        return int(code)
    except BrokenPipeError:
        if not _is_output_closed():
            raise
        return ExitCode.DONE  # the reader of a pipe (`| head`) has seen enough
    except mendable as error:
        print(f"{name}: {error}", file=sys.stderr)
        return ExitCode.WRONG_USE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        print(f"{name}: {interrupted}", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _is_output_closed() -> bool:
    """Whether nobody reads standard output any more; it is then led to nothing, so that nothing fails at the exit."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)  # errors and hang-ups are reported always
    if not poll.poll(0):
        return False
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), output)
    return True
