"""Deletion of frames that are logged and not needed, to make room on the disk.

What is rare by any measure stays: what a person named, the best frames of each taxon, its first and last frame at each
camera, taxa with few frames, undecided frames, and a frame of every taxon that a model thought of. Nothing else in this
software deletes a capture. What goes leaves its rows and a tombstone (`pruned`).
"""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from shutil import disk_usage

from edge.capture.files import file_state, read_bytes
from edge.database.known_files import path_value
from edge.database.transaction import writing
from edge.image.decode import MAX_BYTES, digest
from edge.timestamps import iso_utc, now

LIKELY = 0.1
"""A candidate of an undecided frame from this probability on, or its first, may be what the frame shows."""

# What still can be deleted or kept: frames of which a file lies on the disk as it was logged. `label` holds what each
# of them shows: the lines of a person's act; else the decision of the model that counts, with all bounding boxes of the
# same answer and of imports.
_LABELS = """
CREATE TEMP TABLE decided AS
SELECT e.id, e.media, e.kind, e.taxon, e.method, e.confidence, e.model, e.configuration, e.revision, e.deployment,
       coalesce(e.captured_at, m.received_at) AS at
FROM effective_observation e JOIN media m ON m.id = e.media
WHERE e.media IN (SELECT media FROM temp.there);
CREATE TEMP TABLE label AS
SELECT media, deployment, at, kind, taxon, max(human) AS human, max(confidence) AS confidence FROM (
    SELECT media, deployment, at, kind, taxon, method = 'human' AS human, coalesce(confidence, 0) AS confidence
    FROM temp.decided
    UNION ALL
    SELECT d.media, d.deployment, d.at, b.kind, b.taxon, 0, coalesce(b.confidence, 0)
    FROM temp.decided d JOIN observation b ON b.media = d.media AND b.method = 'machine' AND b.subject > 0
    WHERE d.method = 'machine' AND (b.configuration IS NULL
        OR (b.model IS d.model AND b.configuration IS d.configuration AND b.revision = d.revision))
) GROUP BY media, kind, taxon;
CREATE TEMP TABLE frequency AS SELECT taxon, count(*) AS frames FROM temp.label WHERE kind = 'animal' GROUP BY taxon;
CREATE INDEX temp.frequency_taxon ON frequency (taxon);
"""
_KEPT = """
CREATE TEMP TABLE kept AS
-- what a person saw
SELECT media FROM temp.label WHERE human AND kind <> 'blank'
UNION -- the best of each taxon
SELECT media FROM (
    SELECT media, row_number() OVER (PARTITION BY taxon ORDER BY confidence DESC, media) AS place
    FROM temp.label WHERE kind = 'animal'
) WHERE place <= :best
UNION -- the first and the last of each taxon and camera
SELECT media FROM (
    SELECT media, row_number() OVER (PARTITION BY deployment, taxon ORDER BY at, media) AS from_first,
           row_number() OVER (PARTITION BY deployment, taxon ORDER BY at DESC, media DESC) AS from_last
    FROM temp.label WHERE kind = 'animal'
) WHERE from_first = 1 OR from_last = 1
UNION -- rare taxa
SELECT l.media FROM temp.label l JOIN temp.frequency f ON f.taxon IS l.taxon
WHERE l.kind = 'animal' AND f.frames <= :rare
UNION -- undecided frames
SELECT media FROM temp.decided WHERE kind = 'unknown' AND method = 'machine' AND NOT :unknown
UNION -- undecided frames that may show a rare taxon
SELECT d.media FROM temp.decided d JOIN candidate c ON c.observation = d.id
LEFT JOIN temp.frequency f ON f.taxon = c.taxon
WHERE d.kind = 'unknown' AND (c.place = 1 OR c.probability >= :likely) AND coalesce(f.frames, 0) <= :rare
UNION -- the likeliest frame of each taxon that any model thought of
SELECT media FROM (
    SELECT o.media, max(c.probability) FROM candidate c JOIN observation o ON o.id = c.observation
    WHERE o.media IN (SELECT media FROM temp.there) GROUP BY c.taxon
)
"""
# Every logged file that may go, oldest first.
_MAY_GO = """
SELECT d.media, f.path, f.bytes, f.mtime_ns, m.digest, d.kind, coalesce(d.taxon, d.kind)
FROM temp.decided d JOIN media m ON m.id = d.media JOIN file f ON f.media = d.media
WHERE d.media NOT IN (SELECT media FROM temp.kept) AND (:before IS NULL OR m.received_at < :before)
GROUP BY f.path
ORDER BY d.at, d.media
"""
_TOMBSTONE = "INSERT INTO pruned (media, path, at, rule) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A logged file that may go."""

    media: int
    path: str
    bytes: int
    mtime_ns: int
    digest: str
    kind: str
    label: str
    """Taxon, or the kind where there is none."""
    newest: int
    """The newest observation when the list was made."""


@dataclass(frozen=True, slots=True)
class PruneRules:
    """Which files may go."""

    keep_best: int = 20
    """So many of the most confident frames of each taxon are kept."""
    rare: int = 50
    """Frames of a taxon with at most so many frames are kept."""
    unknown_too: bool = False
    """Whether unreviewed frames whose decision is unknown may go."""
    older_than_days: float | None = None
    free_bytes: int | None = None
    """Nothing more is deleted once the disk has so much room."""

    def describe(self) -> str:
        """The rules in one line; each tombstone keeps it."""
        unknown = ", unknown too" if self.unknown_too else ""
        age = "" if self.older_than_days is None else f", older than {self.older_than_days:g} days"
        return f"keep-best {self.keep_best}, rare {self.rare}{unknown}{age}"


def prune(
    connection: sqlite3.Connection, rules: PruneRules, delete: bool
) -> Iterator[tuple[Candidate, OSError | None]]:
    """Each file that may go, oldest first, with the error if it could not be deleted; deletes only with `delete`."""
    pruned_bytes = 0
    for candidate in _candidates(connection, rules):
        if rules.free_bytes is not None:
            # When nothing is really deleted, the room counts as if it were.
            free_bytes = disk_usage(os.path.dirname(candidate.path)).free + (0 if delete else pruned_bytes)
            if free_bytes >= rules.free_bytes:
                return
        try:
            if delete and not _delete(connection, candidate, rules.describe()):
                continue
        except OSError as error:
            yield candidate, error
            continue
        pruned_bytes += candidate.bytes
        yield candidate, None


def _candidates(connection: sqlite3.Connection, rules: PruneRules) -> Iterator[Candidate]:
    """Files that may go and that are on the disk as they were logged."""
    before = None
    if rules.older_than_days is not None:
        before = iso_utc(now() - timedelta(days=rules.older_than_days))
    values = {"best": rules.keep_best, "rare": rules.rare, "unknown": rules.unknown_too, "likely": LIKELY}
    _find_files(connection)
    for statement in filter(None, map(str.strip, _LABELS.split(";"))):
        connection.execute(statement)
    connection.execute(_KEPT, values)
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM observation").fetchone()
    for media, path, size, mtime_ns, content, kind, label in connection.execute(_MAY_GO, {"before": before}).fetchall():
        candidate = Candidate(media, os.fsdecode(path), size, mtime_ns, content, kind, label, newest)
        seen = file_state(candidate.path)
        if seen is not None and (seen.bytes, seen.mtime_ns) == (size, mtime_ns):
            yield candidate


def _find_files(connection: sqlite3.Connection) -> None:
    """Fill the temporary table `there` with the classified frames of which a file is on the disk as it was logged."""
    for table in ("there", "decided", "label", "frequency", "kept"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    connection.execute("CREATE TEMP TABLE there (media INTEGER PRIMARY KEY)")
    logged = connection.execute(
        "SELECT f.media, f.path, f.bytes, f.mtime_ns FROM file f JOIN media m ON m.id = f.media"
        " WHERE m.status = 'classified'"
    )
    found = set()
    for media, path, size, mtime_ns in logged:
        seen = file_state(os.fsdecode(path))
        if seen is not None and (seen.bytes, seen.mtime_ns) == (size, mtime_ns):
            found.add(media)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO temp.there VALUES (?)", ((media,) for media in found))
    connection.execute("COMMIT")


def _delete(connection: sqlite3.Connection, candidate: Candidate, rule: str) -> bool:
    """Delete one file that still holds what was logged; the tombstone is on the disk before the file goes."""
    if digest(read_bytes(candidate.path, MAX_BYTES)) != candidate.digest:
        return False  # the same size and time, and not the same frame
    with writing(connection):
        newer_label = "SELECT 1 FROM observation WHERE media = ? AND id > ?"
        if connection.execute(newer_label, (candidate.media, candidate.newest)).fetchone():
            return False  # somebody labelled it while this command ran
        values = (candidate.media, path_value(candidate.path), iso_utc(now()), rule)
        tombstone = connection.execute(_TOMBSTONE, values).lastrowid
    try:
        os.unlink(candidate.path)
    except OSError:
        connection.execute("DELETE FROM pruned WHERE rowid = ?", (tombstone,))
        raise
    return True
