"""What people said of a frame elsewhere, written as acts: all lines of one person on one frame in one import."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from edge.timestamps import iso_utc, now
from edge.vocabulary import BoxSource, Kind, Method

_COLUMNS = (
    "kind, taxon, rank, common_name, count, confidence, life_stage, sex, behaviour, individual_id, note, box_x, box_y, "
    "box_width, box_height"
)
_NEW_LINE = f"""
INSERT INTO observation (media, {_COLUMNS}, box_source, act, line, method, classified_by, classified_at)
VALUES ({", ".join("?" * 19)}, '{Method.HUMAN}', ?, ?)
ON CONFLICT (media, act, line) WHERE act IS NOT NULL DO NOTHING
"""
_ACTS = """
SELECT classified_by, act FROM observation
WHERE media = ? AND method = 'human' AND withdraws IS NULL AND typeof(act) = 'text'
GROUP BY classified_by, act ORDER BY max(id)
"""
_LINES = f"SELECT {_COLUMNS} FROM observation WHERE media = ? AND act = ? AND substr(classified_at, 1, 19) = ?"


@dataclass(frozen=True, slots=True)
class HumanLine:
    """One line of what a person said: a taxon, or a kind, with what is known of these animals."""

    kind: Kind
    taxon: str | None = None
    rank: str | None = None
    common_name: str | None = None
    count: int | None = None
    confidence: float | None = None
    life_stage: str | None = None
    sex: str | None = None
    behaviour: str | None = None
    individual_id: str | None = None
    note: str | None = None
    box: tuple[float, float, float, float] | None = None

    def columns(self) -> tuple[object, ...]:
        """The values of the row's own columns."""
        *values, _ = astuple(self)
        return (*values, *(self.box or (None,) * 4))


class Acts:
    """The acts of one frame, by person: read once, however many people said something of it."""

    def __init__(self, connection: sqlite3.Connection, media: int) -> None:
        self.media = media
        self._connection = connection
        self._of_person: dict[str, list[str]] = defaultdict(list)
        for person, act in connection.execute(_ACTS, (media,)):
            self._of_person[person].append(act)

    def save(self, source: str, person: str, lines: Sequence[HumanLine], at: datetime | None = None) -> bool:
        """Write the lines as one act unless it is here already; gives whether it was written."""
        act = _new_act(self._connection, self.media, self._of_person[person], source, person, lines, at)
        if act is None:
            return False
        when = iso_utc(at or now())
        for number, line in enumerate(lines):
            drawn = BoxSource.HUMAN if line.box else None
            values = (self.media, *line.columns(), drawn, act, number, person, when)
            self._connection.execute(_NEW_LINE, values)
        self._of_person[person].append(act)
        return True


def _new_act(
    connection: sqlite3.Connection,
    media: int,
    acts: Sequence[str],
    source: str,
    person: str,
    lines: Sequence[HumanLine],
    at: datetime | None,
) -> str | None:
    """The name of the act that the lines are; `None` when it is here already. `acts` are the person's own, in order.

    The act is named by its content, so the same import again adds nothing. Where the person's last import from this
    `source` said something else of the frame, it is a new act, also when an earlier one said the same.
    """
    rows = [line.columns() for line in lines]
    content = json.dumps([person, at and iso_utc(at), rows], ensure_ascii=False)
    name = f"{source} {blake2b(content.encode('utf-8', 'surrogateescape'), digest_size=12).hexdigest()}"
    same = [act for act in acts if act == name or act.startswith(f"{name} ")]
    last = next((act for act in reversed(acts) if act.startswith(f"{source} ")), None)
    if last in same and last is not None:
        return None
    if at is not None:
        # Our own exports come back to where they are from.
        wanted = sorted(_said(row) for row in rows)
        for act in reversed(acts):
            held = connection.execute(_LINES, (media, act, iso_utc(at)[:19])).fetchall()
            if sorted(_said(row) for row in held) == wanted:
                return None
    return f"{name} {len(same) + 1}" if same else name


def _said(row: Sequence[Any]) -> str:
    """What a line says, however ranks and common names are given: a box alone counts as one animal."""
    kind, taxon, _, _, count, _, *more = row
    return str((str(kind), taxon, count or (1 if more[-1] is not None else None), *more))
