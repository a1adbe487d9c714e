"""What a model that ran elsewhere found on a frame: an answer of its own, beside those of our models.

The import's model is a row of `model` without a card. An answer that differs from the last one of the same model on the
frame is a new revision; one that says the same is not written again, and nothing is deleted.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from edge.vocabulary import BoxSource, DecisionReason, Kind, Method

_NEW_MODEL = "INSERT INTO model (sha256, name, version, card) VALUES (?, ?, ?, '{}') ON CONFLICT (sha256) DO NOTHING"
# Imports of 0.1.0 named no model.
_TAKE_OVER = """
UPDATE OR IGNORE observation SET model = ?
WHERE model IS NULL AND configuration IS NULL AND method = 'machine' AND classified_by IN (?, ?)
"""
_LAST = """
SELECT subject > 0, kind, taxon, rank, confidence, box_x, box_y, box_width, box_height, revision, id
FROM observation WHERE media = ?1 AND model = ?2 AND configuration IS NULL AND method = 'machine' AND revision = (
    SELECT max(revision) FROM observation
    WHERE media = ?1 AND model = ?2 AND configuration IS NULL AND method = 'machine')
ORDER BY subject
"""
_NEW = f"""
INSERT INTO observation (media, model, revision, revises, subject, kind, taxon, rank, common_name, confidence, reason,
    box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{Method.MACHINE}', ?, ?)
"""
_NEW_CANDIDATE = "INSERT INTO candidate (observation, place, taxon, rank, probability) VALUES (?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """The model that an import names."""

    id: int
    title: str


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One observation of an import: the frame's decision, or a bounding box."""

    kind: Kind
    taxon: str | None = None
    rank: str | None = None
    common_name: str | None = None
    confidence: float | None = None
    reason: DecisionReason | None = None
    box: tuple[float, float, float, float] | None = None
    candidates: tuple[tuple[str, str | None, float], ...] = ()
    """(taxon, rank, probability), the most probable first."""


def imported_model(connection: sqlite3.Connection, name: str, version: str) -> ImportedModel:
    """The row of `model` for a name and a version, made where it is not there yet."""
    identity = "import:" + sha256(f"{name}\n{version}".encode()).hexdigest()
    title = name if version in name else f"{name} {version}".strip()
    connection.execute(_NEW_MODEL, (identity, name, version))
    (id_,) = connection.execute("SELECT id FROM model WHERE sha256 = ?", (identity,)).fetchone()
    connection.execute(_TAKE_OVER, (id_, name, title))
    return ImportedModel(id_, title)


def save_answer(
    connection: sqlite3.Connection,
    model: ImportedModel,
    media: int,
    decision: ImportedRow | None,
    boxes: Sequence[ImportedRow],
    at: str,
) -> bool:
    """Write a model's answer for a frame unless its last answer there says the same; gives whether it was written."""
    last = connection.execute(_LAST, (media, model.id)).fetchall()
    if decision is None and not boxes:
        if not last:
            return False
        # There were bounding boxes and there are none any more: a revision needs a row to say so.
        decision = ImportedRow(Kind.BLANK)
    rows = [*enumerate([decision] if decision else []), *enumerate(boxes, 1)]
    none = (None,) * 4
    new = [(subject > 0, r.kind, r.taxon, r.rank, r.confidence, *(r.box or none)) for subject, r in rows]
    if new == [tuple(row[:9]) for row in last]:
        return False
    revision, revises = (last[0][9] + 1, last[0][10]) if last else (0, None)
    for subject, row in rows:
        observation = connection.execute(
            _NEW,
            (
                *(media, model.id, revision, None if subject else revises, subject, row.kind, row.taxon, row.rank),
                *(row.common_name, row.confidence, row.reason, *(row.box or none)),
                *(BoxSource.IMPORTED if row.box else None, model.title, at),
            ),
        ).lastrowid
        for place, candidate in enumerate(row.candidates, 1):
            connection.execute(_NEW_CANDIDATE, (observation, place, *candidate))
    return True
