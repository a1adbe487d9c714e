"""Joins the rows that salvage read: what rows refer to is there, and no digest is that of another file.

Indexes hold a second copy of some values. They fill in what the row itself has lost, and give a frame that people
labelled back its row. A frame's own file tells whether a digest is right.
"""

import os
import sqlite3
import time
from collections.abc import Collection

from edge.capture.files import file_state, read_bytes
from edge.database.repair.pages import INDEX_INTERIOR, INDEX_LEAF, Pages, Stored, Text
from edge.database.repair.salvaged import Salvaged
from edge.database.repair.shapes import is_sound
from edge.database.repair.stored_schema import StoredSchema
from edge.image.decode import digest as content_digest

_MOST_BYTES = 60_000_000  # a larger file is not read for its digest
_INDEXED = {
    "media_digest": ("digest",),
    "media_captured": ("captured_at",),
    "media_deployment": ("deployment", "captured_at"),
    "media_image_digest": ("image_digest",),
    "media_zone": ("deployment", "time_zone"),
}
"""Index of `media` -> the columns whose values it holds, before the row's id."""

# People's rows first: a frame that they labelled or corrected is worth a row that only indexes remember.
_LOST_FRAMES = """
SELECT media FROM observation WHERE method = 'human' AND media NOT IN (SELECT id FROM media)
"""
_LOST_FRAMES_2 = """
UNION SELECT media FROM correction WHERE media NOTNULL AND media NOT IN (SELECT id FROM media)
    AND "by" NOT IN ('edge-classify')
"""
_REMEMBERED = """
INSERT OR IGNORE INTO media (id, path, digest, bytes, received_at, status, attempts, captured_at, deployment, time_zone)
SELECT f.media, f.path, d.value, f.bytes, f.seen_at, 'classified', 1,
    (SELECT value FROM temp.indexed i WHERE i.id = f.media AND i.name = 'captured_at' LIMIT 1),
    (SELECT value FROM temp.indexed i WHERE i.id = f.media AND i.name = 'deployment' LIMIT 1),
    (SELECT value FROM temp.indexed i WHERE i.id = f.media AND i.name = 'time_zone' LIMIT 1)
FROM file f JOIN temp.indexed d ON d.id = f.media AND d.name = 'digest'
WHERE f.media = ? ORDER BY f.seen_at DESC LIMIT 1
"""
_FILL_IN = """
UPDATE media SET {column} = (SELECT value FROM temp.indexed i WHERE i.id = media.id AND i.name = '{column}' LIMIT 1)
WHERE {column} IS NULL AND id IN (SELECT id FROM temp.indexed WHERE name = '{column}')
"""
_FRAMES_WITH_FILES = """
SELECT m.id, m.digest, f.path, f.bytes, f.mtime_ns, i.value,
    EXISTS (SELECT 1 FROM observation o WHERE o.media = m.id AND o.method = 'human') AS labelled
FROM media m JOIN file f ON f.media = m.id LEFT JOIN temp.indexed i ON i.id = m.id AND i.name = 'digest'
WHERE m.status = 'classified'
ORDER BY m.digest IS NOT NULL, m.digest IS i.value, labelled DESC, m.id DESC
"""
_LOST_LABELS = """
SELECT classified_by, kind, coalesce(taxon, common_name, ''), media FROM observation
WHERE method = 'human' AND media NOT IN (SELECT id FROM media WHERE status <> 'classified' OR digest NOTNULL)
"""

# A frame is logged with its observation or not at all. What rows refer to and cannot be read gets an empty row, so that
# it stays known which decisions are of the same model, and which frames of the same camera.
_JOIN = """
DELETE FROM media WHERE status = 'classified' AND digest IS NULL;
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM media WHERE status = 'classified' AND id NOT IN (SELECT media FROM observation WHERE subject = 0);
DELETE FROM observation WHERE media NOT IN (SELECT id FROM media);
DELETE FROM candidate WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM file WHERE media NOT IN (SELECT id FROM media);
INSERT INTO model (id, sha256, name, version, card) SELECT model, 'lost ' || model, 'lost', '', '{}'
    FROM (SELECT model FROM observation UNION SELECT model FROM run)
    WHERE model NOTNULL AND model NOT IN (SELECT id FROM model);
UPDATE observation SET run = NULL WHERE run NOT IN (SELECT id FROM run);
INSERT INTO deployment (id) SELECT DISTINCT deployment FROM media
    WHERE deployment NOTNULL AND deployment NOT IN (SELECT id FROM deployment);
"""
_JOIN_2 = """
INSERT INTO configuration (id, digest, document) SELECT configuration, 'lost ' || configuration, '{}'
    FROM (SELECT configuration FROM observation UNION SELECT configuration FROM run UNION SELECT configuration FROM pin)
    WHERE configuration NOTNULL AND configuration NOT IN (SELECT id FROM configuration);
INSERT INTO model (id, sha256, name, version, card) SELECT DISTINCT model, 'lost ' || model, 'lost', '', '{}'
    FROM pin WHERE model NOT IN (SELECT id FROM model);
INSERT INTO pin (model, configuration, at, "by") SELECT model, configuration, started_at, 'edge-classify' FROM run
    WHERE configuration NOTNULL AND NOT EXISTS (SELECT 1 FROM pin) ORDER BY id LIMIT 1;
DELETE FROM observation WHERE withdraws NOT IN (SELECT id FROM observation);
DELETE FROM observation WHERE withdraws NOT IN (SELECT id FROM observation);
UPDATE observation SET withdraws = NULL WHERE withdraws NOT IN (SELECT id FROM observation);
UPDATE observation SET revises = NULL WHERE revises NOT IN (SELECT id FROM observation);
DELETE FROM media WHERE status = 'classified' AND id NOT IN (SELECT media FROM observation WHERE subject = 0);
DELETE FROM file WHERE media NOT IN (SELECT id FROM media);
DELETE FROM candidate WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM embedding WHERE observation NOT IN (SELECT id FROM observation);
DELETE FROM stale WHERE media NOT IN (SELECT id FROM media) OR model NOT IN (SELECT id FROM model)
    OR configuration NOT IN (SELECT id FROM configuration);
DELETE FROM correction WHERE media NOT IN (SELECT id FROM media);
UPDATE correction SET undoes = NULL WHERE undoes NOT IN (SELECT id FROM correction);
UPDATE retime SET undoes = NULL WHERE undoes NOT IN (SELECT id FROM retime);
"""


def join_rows(
    into: sqlite3.Connection, pages: Pages, schema: StoredSchema, report: Salvaged, version: int, end: float
) -> None:
    """Make the rows in `into` a whole database again, inside the caller's transaction."""
    into.execute("CREATE TEMP TABLE indexed (id INTEGER, name TEXT, value)")
    _read_indexes(into, pages, schema, ("media_digest",))
    into.execute("CREATE INDEX temp.indexed_id ON indexed (id, name)")
    lost = into.execute(_LOST_FRAMES + (_LOST_FRAMES_2 if version > 1 else "")).fetchall()
    if lost or any(name.startswith("media.") for name in report.emptied):
        _read_indexes(into, pages, schema, [name for name in _INDEXED if name != "media_digest"])
        for column in ("digest", "captured_at", "image_digest", "time_zone")[: 4 if version > 1 else 2]:
            where = " AND status = 'classified'" if column == "digest" else ""
            into.execute(_FILL_IN.format(column=column) + where)
        if (remembered := into.executemany(_REMEMBERED, lost).rowcount) > 0:
            report.notes.append(f"{remembered} labelled frames were put together from what indexes remember of them")
    _check_digests(into, report, end)
    lost_labels = into.execute(_LOST_LABELS).fetchall()
    report.lost_labels += [
        ascii(f"{by}: {kind} {taxon} (frame {media})")[1:-1] for by, kind, taxon, media in lost_labels
    ]
    for table in ("media", "observation", "candidate", "file", "correction")[: 5 if version > 1 else 4]:
        report.dropped[table] += into.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    for statement in (_JOIN + (_JOIN_2 if version > 1 else "")).split(";"):
        into.execute(statement)
    for table in ("media", "observation", "candidate", "file", "correction")[: 5 if version > 1 else 4]:
        report.dropped[table] -= into.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    report.dropped += type(report.dropped)()  # without those of which nothing was left out
    into.execute("DROP TABLE temp.indexed")


def _read_indexes(into: sqlite3.Connection, pages: Pages, schema: StoredSchema, names: Collection[str]) -> None:
    """The values of frames that these indexes hold, in a temporary table."""
    for number, owner in schema.owner.items():
        columns = _INDEXED.get(owner, ())
        if owner not in names or pages.kind(number) not in (INDEX_LEAF, INDEX_INTERIOR):
            continue
        for record in pages.records(number):
            if record is None or len(record.values) != len(columns) + 1 or not isinstance(record.values[-1], int):
                continue
            for name, value in zip(columns, record.values, strict=False):
                text = _text(value)
                if text is not None and is_sound("media", name, text):
                    into.execute("INSERT INTO temp.indexed VALUES (?, ?, ?)", (record.values[-1], name, text))


def _text(value: Stored) -> str | None:
    try:
        return value.decode("utf-8") if isinstance(value, Text) else None
    except UnicodeDecodeError:
        return None


def _check_digests(into: sqlite3.Connection, report: Salvaged, end: float) -> None:
    """Hold digests against the frames' files, the doubtful ones first, as long as there is time.

    A digest that its file contradicts is dropped with its frame, which is classified again; a frame that people
    labelled keeps its row, with the digest of its file.
    """
    rows = into.execute(_FRAMES_WITH_FILES).fetchall()
    for done, (media, digest, path, size, mtime_ns, remembered, labelled) in enumerate(rows):
        if time.monotonic() > end:
            report.notes.append(f"{len(rows) - done} digests were not held against their files, for want of time")
            return
        state = file_state(os.fsdecode(path))
        if state is None or (state.bytes, state.mtime_ns) != (size, mtime_ns) or size > _MOST_BYTES:
            continue  # gone, or changed since
        try:
            true = content_digest(read_bytes(state.path, _MOST_BYTES))
        except OSError:
            continue
        if true == digest:
            continue
        taken = into.execute("SELECT 1 FROM media WHERE digest = ? AND status = 'classified'", (true,)).fetchone()
        report.emptied["media.digest"] += 1
        kept = true if not taken and (labelled or true == remembered) else None
        into.execute("UPDATE media SET digest = ? WHERE id = ?", (kept, media))
