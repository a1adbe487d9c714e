"""TOML and flags as typed values; what is wrong is said in words, with its place."""

import difflib
import re
import reprlib
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import msgspec

from edge.host.text_file import read_text

TIMES = "a date or a time such as 2026-05-01 or 2026-05-01T18:00"


_MOST_BYTES = 2_000_000  # read in some seconds; with 20,000 deployments it has as many


class SettingsError(ValueError):
    """Wrong use, in one line."""


def read_toml(path: Path) -> dict[str, Any]:
    """The document. Raises `SettingsError`, with what to correct."""
    try:
        text = read_text(path, _MOST_BYTES)
    except OSError as error:
        raise SettingsError(f"{path}: the configuration cannot be read ({error.strerror}); check --config") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SettingsError(f"{path}: its values are nested too deeply; expected tables of plain values") from error
    except tomllib.TOMLDecodeError as error:
        if _KEY_BEFORE_TABLES.search(text):
            raise SettingsError(
                f"{path}: `deployment = ...` and tables [deployment.ID] cannot stand in one TOML file ({error}); keep"
                " the tables, each with its `folder`, and leave out the key (or give --deployment ID)"
            ) from error
        raise SettingsError(f"{path}: not valid TOML ({error}); {_toml_advice(text, str(error))}") from error


def _toml_advice(text: str, problem: str) -> str:
    """What to correct in a file that is no TOML, in words."""
    if match := re.match(r"Cannot declare \((.*)\) twice", problem):
        table = ".".join(re.findall(r"'([^']*)'", match[1]))
        return f"the table [{table}] stands twice; leave one of them out"
    if match := re.search(r"at line (\d+)", problem):
        line = next(iter(text.splitlines()[int(match[1]) - 1 :]), "").strip()
        if found := re.match(r"\s*\w+\s*=\s*(-?\d+),(\d+)\s*(#|$)", line):
            return f"{line!r}: write a decimal point, {found[1]}.{found[2]}"
        if re.match(r"(start|end)\s*=", line):
            return f"{line!r}: expected {TIMES}"
        if found := re.match(r"\[deployment\.([^\]\"']+)\]", line):
            return f'a name with spaces or accents stands in quotes: [deployment."{found[1]}"]'
        if line:
            return f"correct the line {line[:80]!r}"
    return "correct the line named"


def parse(kind: Any, value: object, prefix: str) -> Any:
    """`value` as an instance of `kind`. Raises `SettingsError` in one line, which `prefix` begins."""
    try:
        return msgspec.convert(value, kind, dec_hook=_as_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_words(str(error), kind, value, prefix)) from error


def _as_path(_kind: object, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError("Expected `path`")
    if value == "" or "\0" in str(value):
        raise ValueError("names no file")
    return Path(value)


def _in_words(problem: str, kind: Any, value: Any, prefix: str) -> str:
    """What msgspec found, for people: the place, the value there, what was expected."""
    said, _, place = problem.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    names = re.findall(r"\w+", place)
    for name in names:
        value = value[int(name)] if isinstance(value, list) else value[name]
    place = f"{prefix}{place.replace('_', '-') if prefix == '--' else place}".strip()
    if match := re.match("Object contains unknown field `(.*)`", said):
        known = [field.encode_name for field in msgspec.structs.fields(_type_at(kind, names))]
        return f"{place.rstrip(':')}: the key {match[1]!r} is not known; {nearest(match[1], known)}"
    if match := re.match("Object missing required field `(.*)`", said):
        return f"{place}: the key {match[1]!r} is missing"
    if match := re.match(r"Expected `(\w+)(?: \| null)?`(?: (<=|>=|>) (\S+))?", said):
        expected = _TYPES[match[1]] + (f" {_LIMITS[match[2]]} {float(match[3]):g}" if match[2] else "")
        expected += _advice(names[-1] if names else prefix.split()[-1], value, match[1])
    elif said.startswith("Invalid enum value"):
        expected = "one of " + ", ".join(_type_at(kind, names))
    else:
        return said if prefix == "--" else f"{place} {said}"
    return f"{place} is {reprlib.repr(value)}: expected {expected}"


def _type_at(kind: Any, names: Iterable[str]) -> Any:
    """The type at a place inside `kind`; of an optional one and of a list the type within."""
    for name in names:
        if not name.isdigit():
            kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == name)
        within = [one for one in get_args(kind) if one not in (NoneType, ...)]
        kind = within[0] if within else kind
    return kind


def _advice(name: str, value: object, kind: str) -> str:
    """What a wrong number may have meant, in words."""
    if kind in ("float", "int") and isinstance(value, str):
        with suppress(ValueError):
            return f"; write it without quotes and with a decimal point: {float(value.replace(',', '.')):g}"
    if name in ("latitude", "--latitude") and isinstance(value, int | float) and 90 < abs(value) <= 180:
        return "; are latitude and longitude swapped?"
    return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """What a wrong name may have meant, in words: the nearest known names, or all of them when none is near."""
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, 3)]
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(by_lower.values())}"


# Each is right by itself; of both together TOML's reader says only "Cannot overwrite a value".
_KEY_BEFORE_TABLES = re.compile(r"^\s*deployment\s*=.*^\s*\[\s*deployment\b", re.MULTILINE | re.DOTALL)

_LIMITS = {"<=": "of at most", ">=": "of at least", ">": "above"}
_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "path": "a path",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}
