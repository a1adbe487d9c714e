"""`edge-db label FRAME TAXON`: what a person says that one frame shows."""

import sqlite3
from dataclasses import dataclass, replace
from uuid import uuid4

from edge.database.events.table import update_events
from edge.database.imports.file_matching import Frames
from edge.database.imports.human_acts import Acts, HumanLine
from edge.database.imports.named_label import TaxonNames
from edge.database.imports.table_file import BadValue
from edge.database.transaction import writing
from edge.vocabulary import Kind

_COUNTS = "SELECT kind, taxon, number, classified_by FROM effective_observation WHERE media = ? ORDER BY line, id"


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says of a frame."""

    frame: str
    """Its media id, or its path or the end of it."""
    taxon: str
    """A scientific or common name, or one of the kinds."""
    by: str
    rank: str = ""
    """Of a taxon that no model of the database knows."""
    count: int | None = None
    sex: str | None = None
    life_stage: str | None = None
    behaviour: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was written."""

    path: str
    line: HumanLine
    before: str
    """What counted until now, in words."""


def label_frame(connection: sqlite3.Connection, label: Label) -> Labelled:
    """Write the label as a new act, which counts instead of what was said before. Raises `BadValue`."""
    frames = Frames(connection)
    media = _media(connection, frames, label.frame)
    line = TaxonNames(connection).meaning(label.taxon, label.rank)
    if label.count is not None and line.kind in (Kind.BLANK, Kind.UNKNOWN):
        raise BadValue(f"the label is {line.kind}, which has no count; leave out --count")
    line = replace(
        line,
        count=label.count,
        sex=label.sex,
        life_stage=label.life_stage,
        behaviour=label.behaviour,
        note=label.note,
    )
    before = "; ".join(
        f"{taxon or kind}{f' {number}' if number else ''} by {by}"
        for kind, taxon, number, by in connection.execute(_COUNTS, (media,))
    )
    with writing(connection):
        Acts(connection, media).save(f"label {uuid4().hex}", label.by, [line])
        update_events(connection, [media])
    return Labelled(frames.path_of(media), line, before or "nothing")


def _media(connection: sqlite3.Connection, frames: Frames, name: str) -> int:
    fitting = frames.named(name)
    if not fitting and name.isascii() and name.isdigit():
        query = "SELECT id FROM media WHERE id = ? AND status = 'classified'"
        fitting = [id_ for (id_,) in connection.execute(query, (int(name),))]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise BadValue(f"no frame is called {name!r}; expected its media id, or its path or the end of it")
    listed = ", ".join(f"{media}: {frames.path_of(media)}" for media in fitting[:10])
    more = f" and {len(fitting) - 10} more" if len(fitting) > 10 else ""
    raise BadValue(f"{name!r} means {len(fitting)} frames ({listed}{more}); give the media id, or more of the path")
