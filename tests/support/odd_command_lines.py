"""Odd command lines of any command, made from its own argparse definition, and odd configuration files."""

import argparse
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.commands.runner import Parser
from edge.settings.deployment_table import DeploymentTable
from edge.settings.options import Options
from edge.settings.project import Contributor, Licence, Project

TEXTS = (
    "",
    " ",
    "x" * 250,
    "x" * 5000,
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "\udcff",
    "Ä",
    "🦌",
    "-",
    "--",
    "%s",
    "'",
    "0x1f",
)
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e999", "-0", "1e-320", "9" * 400, "9" * 5000, "1_0", "1,5", "٣", "1e9")
PATHS = ("nowhere/x", "loop", "pipe", "folder", ".", "captures/a.jpg", "a/" * 2000, "empty", "~nobody/x", "dangling")
TIMES = (
    "0000-01-01",
    "9999-12-31",
    "0001-01-01T00:00+14:00",
    "2026-13-01",
    "2026-02-30T25:00",
    "today",
    "7 days",
    "99999999999 days",
    "-5 days",
    "2026-05-01T18:00:00Z",
    "Europe/Madrid",
    "+1h",
    "-9999999d",
)

Random = random.Random


class _Found(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(main: Callable[[Sequence[str]], int]) -> argparse.ArgumentParser:
    """The parser that a command builds."""

    def found(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Found(parser)

    with pytest.MonkeyPatch.context() as patched:
        for kind in (argparse.ArgumentParser, Parser):
            for name in ("parse_args", "parse_known_args"):
                patched.setattr(kind, name, found)
        try:
            main([])
        except _Found as what:
            return what.parser
    raise AssertionError("the command has no parser")


def make_odd_files(folder: Path) -> None:
    """What `PATHS` names: a pipe, links that lead nowhere or to themselves, a folder, an empty file."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing")
    (folder / "folder").mkdir()
    (folder / "empty").write_bytes(b"")


def odd_command_lines(
    parser: argparse.ArgumentParser, usual: Mapping[str, Sequence[str]], left_out: frozenset[str], chosen: Random
) -> Iterator[list[str]]:
    """Command lines without end: mostly right ones (`usual` values by `dest`) with one to three oddities."""
    leaves = list(_leaves(parser, []))
    while True:
        words, actions = chosen.choice(leaves)
        optional = [action for action in actions if action.option_strings and action.dest not in left_out]
        line = list(words)
        odd = {id(action) for action in chosen.sample(actions, min(len(actions), chosen.choice((0, 1, 1, 1, 2, 3))))}
        for action in actions:
            if action.dest in left_out and action.dest not in usual:
                continue
            is_odd = id(action) in odd and action.dest not in left_out
            if (
                action.required
                or not action.option_strings
                or is_odd
                or (action.dest in usual and action.dest in ("db", "min_free_bytes", "out"))
            ):
                line += _with_value(action, usual, is_odd, chosen)
        match chosen.randrange(12):
            case 0 if len(line) > 1:
                del line[chosen.randrange(len(line))]
            case 1:
                line.insert(chosen.randrange(len(line) + 1), chosen.choice((*TEXTS, *NUMBERS)))
            case 2 if optional:
                line += _with_value(chosen.choice(optional), usual, True, chosen)
            case 3:
                line += line[-2:]
        yield [word for word in line if "\0" not in word]


def _leaves(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[tuple[list[str], list[argparse.Action]]]:
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction | argparse._VersionAction)]
    choices = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    if not choices:
        yield words, actions
    for action in choices:
        for name, own in action.choices.items():
            yield from _leaves(own, [*words, name])


def _with_value(action: argparse.Action, usual: Mapping[str, Sequence[str]], is_odd: bool, chosen: Random) -> list[str]:
    flag = [chosen.choice(action.option_strings)] if action.option_strings else []
    if action.nargs == 0:
        return flag
    count = action.nargs if isinstance(action.nargs, int) else 1
    if not is_odd:
        values = list(usual.get(action.dest, list(map(str, action.choices))[:1] if action.choices else ["1"] * count))
        return flag + values
    values = [chosen.choice((*TEXTS, *NUMBERS, *PATHS, *TIMES)) for _ in range(count)]
    return [f"{flag[0]}={values[0]}"] if flag and len(values) == 1 and flag[0].startswith("--") else flag + values


BARE = (
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    "9" * 30,
    "true",
    "[]",
    "{}",
    "[[1], {a = 1}]",
    "2026-05-01",
    "1979-05-27T07:32:00-08:00",
    "07:32:00",
    '"\\u0000"',
    '"\\u001b[31m"',
    '"\\U0001F98C"',
    '""',
    '" "',
    "'''a\nb'''",
    f'"{"x" * 300}"',
    f'"{"y" * 100_000}"',
    '["a", "a"]',
    '[""]',
    "[nan]",
    '"nan"',
    '"1,5"',
    "1.5.2",
    "nil",
    "",
    '"loop"',
    '"pipe"',
    '"folder"',
    '"nowhere/x"',
    '"Europe/Madrid"',
    '"../../etc/passwd"',
    '"2026-02-30"',
    '"UTC"',
)


def odd_configurations(chosen: Random, usual: str, left_out: frozenset[str]) -> Iterator[bytes]:
    """Configuration files without end: `usual` with odd values of known keys, unknown keys, and broken text."""
    tables: dict[str, Any] = {"": Options, "project": Project, "deployment.ridge": DeploymentTable}
    tables |= {"project.contributors": Contributor, "project.licenses": Licence}
    keys = [
        (table, field.encode_name)
        for table, kind in tables.items()
        for field in msgspec.structs.fields(kind)
        if field.name not in left_out
    ]
    keys += [("thresholds", name) for name in ("species", "blank", "detection", "roe_deer", "nobody")]
    while True:
        top: list[str] = []
        inside: dict[str, list[str]] = {}
        for table, key in chosen.sample(keys, chosen.choice((1, 1, 1, 2, 4))):
            line = f"{key} = {chosen.choice(BARE)}"
            if table in ("project.contributors", "project.licenses"):
                table, line = "project", f"{table.rpartition('.')[2]} = [{{{line}}}]"
            (top if not table else inside.setdefault(table, [])).append(line)
        names = ("ridge", '"a b"', '""', '"\\u0000"', '"\\u001b"', f'"{"z" * 300}"', '"ridge.x"', "Ä", '" "')
        text = "\n".join([*top, usual])
        for table, lines in inside.items():
            if table == "deployment.ridge":
                table = f"deployment.{chosen.choice(names)}"
            text += "\n".join(["", f"[{table}]", *lines, ""])
        content = bytearray(text.encode())
        match chosen.randrange(10):
            case 0:
                content[chosen.randrange(len(content) + 1) : 0] = chosen.choice(
                    (b"\xff", b"\x00", b"\xed\xa0\x80", b"\x1b")
                )
            case 1:
                content = bytearray(b"\xff\xfe" + text.encode("utf-16-le"))
            case 2:
                content += chosen.choice(
                    (
                        b"deployment = 5",
                        b"[deployment]",
                        b"[[deployment]]",
                        b"[project]\n[project]",
                        b"a = " + b"[" * 3000,
                        b"a." * 3000 + b"b = 1",
                        b"x = '''",
                        b"thresholds = 1",
                    )
                )
            case 3:
                content = content[: chosen.randrange(len(content) + 1)]
        yield bytes(content)
