"""Whose decisions count: the pinned model and configuration, and pinning others by name."""

import json
import sqlite3
from dataclasses import dataclass

from edge.database.events.table import rebuild_events
from edge.database.transaction import writing
from edge.timestamps import iso_utc, now

_PINNED = "SELECT model, configuration FROM pin ORDER BY id DESC LIMIT 1"
_MODELS = "SELECT id, name, version, sha256 FROM model ORDER BY id"
_USED = """
SELECT configuration, max(id) AS newest FROM run WHERE model = ? AND configuration NOT NULL
GROUP BY configuration ORDER BY newest DESC
"""
_ANSWERED = """
SELECT count(DISTINCT media) FROM observation
WHERE model = ? AND configuration = ? AND method = 'machine' AND subject = 0
"""
_PIN = 'INSERT INTO pin (model, configuration, at, "by") VALUES (?, ?, ?, ?)'
_PREFIX = 12
"""Digits of a SHA-256 that people are shown."""


class ModelChoiceError(ValueError):
    """A model that cannot be meant, in one line."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the database."""

    id: int
    name: str
    version: str
    sha256: str

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a person pinned."""

    name: str
    """The model and its configuration, for people."""
    frames: int
    """Frames that this pair answered."""
    others: tuple[int, ...]
    """Other configurations under which the model ran."""
    events: int


def pinned_pair(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """Model and configuration whose decisions count; `None` before the first decision."""
    row = connection.execute(_PINNED).fetchone()
    return None if row is None else (row[0], row[1])


def describe_difference(connection: sqlite3.Connection, model: int, configuration: int) -> str | None:
    """One line when the decisions of this pair are not those that reports use, with the command that pins it."""
    pinned = pinned_pair(connection)
    if pinned is None or pinned == (model, configuration):
        return None
    models = known_models(connection)
    same = pinned[0] == model
    mine, used = (_named(models, *pair, same) for pair in ((model, configuration), pinned))
    (frames,) = connection.execute(_ANSWERED, (model, configuration)).fetchone()
    others = [number for (number, _) in connection.execute(_USED, (model,)) if number != configuration]
    option = f" --configuration {configuration}" if same or others else ""
    command = f"edge-db use-model {_shortest(models, model)}{option}"
    verb = "frame is" if frames == 1 else "frames are"
    return f"{frames} {verb} answered by {mine}, reports use {used}; pin {mine} with {command}"


def use_model(connection: sqlite3.Connection, name: str, configuration: int | None, by: str) -> Pinned:
    """Pin a model and a configuration, by default that of its newest run, in one transaction with all events.

    `name` is `name@version`, a name, or the beginning of the SHA-256. Raises `ModelChoiceError`.
    """
    with writing(connection):
        models = known_models(connection)
        model = _matching(models, name)
        used = [number for (number, _) in connection.execute(_USED, (model,))]
        if configuration is None and not used:
            raise ModelChoiceError(f"{name!r} never ran here: its answers were imported and cannot be pinned")
        chosen = used[0] if configuration is None else configuration
        if chosen not in used:
            there = ", ".join(f"{number} ({_document(connection, number)})" for number in used)
            raise ModelChoiceError(f"{name!r} did not run under configuration {chosen}; it ran under {there or 'none'}")
        connection.execute(_PIN, (model, chosen, iso_utc(now()), by))
        events = rebuild_events(connection)
        (frames,) = connection.execute(_ANSWERED, (model, chosen)).fetchone()
    document = _document(connection, chosen)
    words = f"{_shortest(models, model)}, configuration {chosen} ({document})"
    return Pinned(words, frames, tuple(number for number in used if number != chosen), events)


def known_models(connection: sqlite3.Connection) -> list[KnownModel]:
    """The models of the database, in the order in which they came."""
    return [KnownModel(*row) for row in connection.execute(_MODELS)]


def _matching(models: list[KnownModel], name: str) -> int:
    wanted = name.strip().lower()
    found = [one for one in models if wanted == one.title.lower()]
    found = found or [one for one in models if wanted in (one.name.lower(), f"{one.name} {one.version}".lower())]
    found = found or [one for one in models if len(wanted) >= 4 and one.sha256.startswith(wanted)]
    if len(found) == 1:
        return found[0].id
    candidates = ", ".join(f"{one.title} ({one.sha256[:_PREFIX]})" for one in found or models)
    if not found:
        raise ModelChoiceError(f"no model is called {name!r} here; there are: {candidates or 'none'}")
    raise ModelChoiceError(f"{name!r} is one of {len(found)} models: {candidates}; give the beginning of its SHA-256")


def _shortest(models: list[KnownModel], model: int) -> str:
    """The name by which a model is found."""
    own = next(one for one in models if one.id == model)
    alike = sum(one.title.lower() == own.title.lower() for one in models)
    return own.title if alike == 1 and " " not in own.title else own.sha256[:_PREFIX]


def _named(models: list[KnownModel], model: int, configuration: int, with_configuration: bool) -> str:
    name = _shortest(models, model)
    return f"{name} (configuration {configuration})" if with_configuration else name


def _document(connection: sqlite3.Connection, configuration: int) -> str:
    """What a configuration changes, in a few words."""
    row = connection.execute("SELECT document FROM configuration WHERE id = ?", (configuration,)).fetchone()
    document = json.loads(row[0]) if row else {}
    words = []
    for key, value in document.items():
        match key:
            case "species_list":
                words.append(f"species list of {len(value)}")
            case "detector":
                words.append(f"detector {value[:_PREFIX]}")
            case "thresholds":
                words += [f"{name} {least:g}" for name, least in value.items()]
            case "second_look":
                words.append("no attention crop")
            case _:
                words.append(key)
    return "; ".join(words) or "all defaults"
