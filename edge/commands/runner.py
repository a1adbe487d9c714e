"""What every command does alike: arguments, exit codes, errors in one line, closed pipes and Ctrl-C."""

import argparse
import os
import select
import sys
from collections.abc import Callable
from enum import IntEnum
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from edge.host.one_line import one_line, printable, shortened
from edge.host.output_file import OutputError
from edge.host.plain_text import plain_streams
from edge.settings.strict_toml import SettingsError


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    PROBLEM = 1
    """Done, but a check found a problem or a file could not be read."""
    WRONG_USE = 2
    INTERRUPTED = 130
    """Stopped by a signal before it was done."""


_LONGEST = 1000
"""Characters of a message: a name from the command line may be endless."""
_MOST = 10**18
"""Whole numbers that a database can hold."""
_KEPT_TEXTS = ("by", "deployment", "taxon", "sex", "life_stage", "behaviour", "rank", "note")
"""Arguments whose text goes into a database."""


class Parser(argparse.ArgumentParser):
    """Arguments of a command; what is wrong with them is said in one line.

    Whatever takes a path takes no empty one (the current folder is `.`), and a number is finite.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        for kind, converted in ((Path, _path), (float, _finite), (int, _whole)):
            self.register("type", kind, converted)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, and no argument is without its value or a text that nobody can read."""
        given, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(given, action.dest, None)
            name = action.option_strings[-1] if action.option_strings else action.dest
            if value == [] and action.nargs is None and action.default != []:
                self.error(f"argument {name}: expected one argument")  # argparse takes `--name=--` for nothing
            if action.dest in _KEPT_TEXTS and isinstance(value, str) and not _is_plain(value):
                self.error(f"argument {name}: {value!a} is no plain text of at most {_LONGEST} characters")
        return given, rest

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        super().error(shortened(printable(message), _LONGEST))


def _is_plain(text: str) -> bool:
    return len(text) <= _LONGEST and text.replace("\n", " ").isprintable()


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name; expected a path")
    return Path(text)


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) > _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is too large")
    return value


def between(least: float, most: float) -> Callable[[str], float]:
    """A type of argument: numbers from `least` to `most`."""

    def number(text: str) -> float:
        if not least <= (value := float(text)) <= most:  # nan is not either
            raise argparse.ArgumentTypeError(f"{text!r} is not between {least:g} and {most:g}")
        return value

    return number


def run(
    name: str,
    command: Callable[[], int],
    *errors: type[Exception],
    interrupted: str = "interrupted",
    paragraphs: bool = False,
) -> int:
    """Run a command and give its exit code.

    `errors` are those that the user can mend: like `SettingsError` and `OutputError` they are printed in one line, as
    is what the system says of a file (links in a circle, names that are too long, a disk that is full). All that a
    command prints goes through `PlainText`, which `paragraphs` is for.
    """
    with plain_streams(paragraphs):
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
        print(f"{name}: {shortened(_in_words(error), _LONGEST)}", file=sys.stderr)
        return ExitCode.WRONG_USE
    except OSError as error:
        if error.errno is None:
            raise
        print(f"{name}: {shortened(_in_words(error), _LONGEST)}", file=sys.stderr)
        return ExitCode.WRONG_USE
    except UnicodeEncodeError as error:
        print(f"{name}: {one_line(ascii(error.object))}: a name that is no text (UTF-8)", file=sys.stderr)
        return ExitCode.WRONG_USE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        print(f"{name}: {interrupted}", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _in_words(error: Exception) -> str:
    """What an exception says; of the system's errors the file and the reason."""
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


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
