"""What people said of a frame elsewhere, written as acts: all lines of one person on one frame in one import."""

import json
import sqlite3
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
SELECT act, max(id) FROM observation
WHERE media = ? AND method = 'human' AND withdraws IS NULL AND classified_by = ? GROUP BY act ORDER BY 2 DESC
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


def save_act(
    connection: sqlite3.Connection,
    source: str,
    media: int,
    person: str,
    lines: Sequence[HumanLine],
    at: datetime | None = None,
) -> bool:
    """Write the lines as one act unless it is here already; gives whether it was written.

    The act is named by its content, so the same import again adds nothing. Where the person's last import from this
    `source` said something else of the frame, it is a new act, also when an earlier one said the same.
    """
    rows = [line.columns() for line in lines]
    content = json.dumps([person, at and iso_utc(at), rows], ensure_ascii=False)
    name = f"{source} {blake2b(content.encode('utf-8', 'surrogateescape'), digest_size=12).hexdigest()}"
    acts = [act for act, _ in connection.execute(_ACTS, (media, person))]
    same = [act for act in acts if act == name or act.startswith(f"{name} ")]
    last = next((act for act in acts if act.startswith(f"{source} ")), None)
    if last in same and last is not None:
        return False
    if at is not None:
        # Our own exports come back to where they are from.
        wanted = sorted(_said(row) for row in rows)
        for act in acts:
            held = connection.execute(_LINES, (media, act, iso_utc(at)[:19])).fetchall()
            if sorted(_said(row) for row in held) == wanted:
                return False
    act = f"{name} {len(same) + 1}" if same else name
    when = iso_utc(at or now())
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        drawn = BoxSource.HUMAN if line.box else None
        connection.execute(_NEW_LINE, (media, *row, drawn, act, number, person, when))
    return True


def _said(row: Sequence[Any]) -> str:
    """What a line says, however ranks and common names are given: a box alone counts as one animal."""
    kind, taxon, _, _, count, _, *more = row
    return str((str(kind), taxon, count or (1 if more[-1] is not None else None), *more))
