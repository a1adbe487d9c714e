"""Deletion of frames that are logged and not needed, to make room on the disk.

Nothing else in this software deletes a capture. What goes leaves its rows and a tombstone (`pruned`).
"""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from shutil import disk_usage

from edge.capture.files import file_state, read_bytes
from edge.database.known_files import path_value
from edge.image.decode import MAX_BYTES, digest
from edge.timestamps import iso_utc, now

# Every logged file that may go, oldest first. A frame is kept when it is among its taxon's best (a person's word
# counts above any number), when nobody has looked at it and its taxon is rare here, or when nobody has looked at it
# and the model could not tell what it is.
_MAY_GO = """
WITH judged AS (
    SELECT d.media, d.kind, d.taxon, d.captured_at, d.method = 'human' AS reviewed,
           row_number() OVER (PARTITION BY d.kind, d.taxon
                              ORDER BY d.method = 'human' DESC, d.confidence DESC, d.media) AS place,
           count(*) OVER (PARTITION BY d.kind, d.taxon) AS frames
    FROM detections d WHERE d.status = 'classified'
)
SELECT j.media, f.path, f.bytes, f.mtime_ns, m.digest, j.kind, coalesce(j.taxon, j.kind)
FROM judged j JOIN media m ON m.id = j.media JOIN file f ON f.media = j.media
WHERE (j.kind <> 'animal' OR j.place > :best)
  AND (j.reviewed OR j.kind <> 'animal' OR j.frames > :rare)
  AND (j.reviewed OR j.kind <> 'unknown' OR :unknown)
  AND (:before IS NULL OR m.received_at < :before)
ORDER BY j.captured_at, j.media
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


@dataclass(frozen=True, slots=True)
class PruneRules:
    """Which files may go."""

    keep_best: int = 20
    """So many frames of each taxon are kept: those that a person labelled, then the most confident."""
    rare: int = 50
    """Unreviewed frames of a taxon with at most so many frames are kept."""
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
    values = {"best": rules.keep_best, "rare": rules.rare, "unknown": rules.unknown_too, "before": before}
    for media, path, size, mtime_ns, content, kind, label in connection.execute(_MAY_GO, values).fetchall():
        candidate = Candidate(media, os.fsdecode(path), size, mtime_ns, content, kind, label)
        seen = file_state(candidate.path)
        if seen is not None and (seen.bytes, seen.mtime_ns) == (size, mtime_ns):
            yield candidate


def _delete(connection: sqlite3.Connection, candidate: Candidate, rule: str) -> bool:
    """Delete one file that still holds what was logged; the tombstone is on the disk before the file goes."""
    if digest(read_bytes(candidate.path, MAX_BYTES)) != candidate.digest:
        return False  # the same size and time, and not the same frame
    connection.execute("BEGIN IMMEDIATE")
    tombstone = connection.execute(
        _TOMBSTONE, (candidate.media, path_value(candidate.path), iso_utc(now()), rule)
    ).lastrowid
    connection.commit()
    try:
        os.unlink(candidate.path)
    except OSError:
        connection.execute("DELETE FROM pruned WHERE rowid = ?", (tombstone,))
        raise
    return True
