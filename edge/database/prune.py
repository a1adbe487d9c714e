"""Deletion of frames that are logged and not needed, to make room on the disk.

What is rare by any measure stays: what a person reviewed, the best frames of each taxon, its first and last frame at
each camera, taxa with few frames, undecided frames, and a frame of every taxon that a model thought of. Nothing else in
this software deletes a capture. What goes leaves its rows and a tombstone (`pruned`).
"""

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from shutil import disk_usage

from edge.database.frame_files import FrameFiles
from edge.database.known_files import path_value
from edge.database.transaction import writing
from edge.timestamps import iso_utc, now

MOST = 1 << 60
"""Numbers of frames, days and bytes are smaller."""
LIKELY = 0.1
"""A candidate of an undecided frame from this probability on, or its first, may be what the frame shows."""

# What still can be deleted or kept: frames of which a file lies on the disk as it was logged. `label` holds what each
# of them shows by the rows that count in reports (`effective_observation`): the lines of a person's act; else the
# decision of the model that counts, with all bounding boxes of the same answer. These are marked `counts`. Beside them
# stands what imports say, until a newer answer of the same import replaces it: it makes nothing common that is rare.
_LABELS = """
CREATE TEMP TABLE decided AS
SELECT e.id, e.media, e.kind, e.taxon, e.method, e.confidence, e.model, e.configuration, e.revision, e.deployment,
       coalesce(e.captured_at, m.received_at) AS at
FROM effective_observation e JOIN media m ON m.id = e.media
WHERE e.media IN (SELECT media FROM temp.there);
CREATE TEMP TABLE label AS
SELECT media, deployment, at, kind, taxon, max(confidence) AS confidence, max(counts) AS counts FROM (
    SELECT media, deployment, at, kind, taxon, coalesce(confidence, 0) AS confidence, 1 AS counts FROM temp.decided
    UNION ALL
    SELECT d.media, d.deployment, d.at, b.kind, b.taxon, coalesce(b.confidence, 0), b.configuration IS NOT NULL
    FROM temp.decided d JOIN observation b ON b.media = d.media AND b.method = 'machine' AND b.id <> d.id
    WHERE d.method = 'machine' AND iif(b.configuration IS NULL,
        NOT EXISTS (SELECT 1 FROM observation later WHERE later.media = b.media AND later.method = 'machine'
            AND later.configuration IS NULL AND later.model IS b.model AND later.revision > b.revision),
        b.model IS d.model AND b.configuration IS d.configuration AND b.revision = d.revision)
) GROUP BY media, kind, taxon;
CREATE TEMP TABLE frequency AS
SELECT taxon, count(*) AS frames, sum(counts) AS reported FROM temp.label WHERE kind = 'animal' GROUP BY taxon;
CREATE INDEX temp.frequency_taxon ON frequency (taxon);
"""
_KEPT = """
CREATE TEMP TABLE kept AS
-- what a person reviewed, also where it was withdrawn
SELECT media FROM observation WHERE method = 'human'
UNION -- no animal by the decision, and one by a bounding box or an import: nobody knows yet
SELECT d.media FROM temp.decided d JOIN temp.label l ON l.media = d.media
WHERE d.kind <> 'animal' AND l.kind = 'animal'
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
WHERE l.kind = 'animal' AND iif(l.counts, f.reported, f.frames) <= :rare
UNION -- undecided frames
SELECT media FROM temp.decided WHERE kind = 'unknown' AND NOT :unknown
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
# Every logged file that may go, oldest first. A device whose clock was behind wrote an early `received_at`: a frame is
# as old as the newer of its two times.
_MAY_GO = """
SELECT d.media, f.path, f.bytes, f.mtime_ns, m.digest, d.kind, coalesce(d.taxon, d.kind)
FROM temp.decided d JOIN media m ON m.id = d.media JOIN file f ON f.media = d.media
WHERE d.media NOT IN (SELECT media FROM temp.kept)
    AND (:before IS NULL OR max(m.received_at, coalesce(m.captured_at, '')) < :before)
GROUP BY f.path
ORDER BY d.at, d.media
"""
_TOMBSTONE = "INSERT INTO pruned (media, path, at, rule) VALUES (?, ?, ?, ?)"
_STATE = "SELECT coalesce((SELECT max(id) FROM observation), 0), coalesce((SELECT max(id) FROM pin), 0)"
_CHANGED = """
SELECT EXISTS (SELECT 1 FROM observation WHERE media = :media AND id > :observation)
    OR EXISTS (SELECT 1 FROM pin WHERE id > :pin)
    OR NOT EXISTS (SELECT 1 FROM file f JOIN media m ON m.id = f.media
        WHERE f.path = :path AND m.id = :media AND m.digest = :digest AND m.status = 'classified')
"""


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
    state: tuple[int, int]
    """The newest observation and the newest pin when the list was made."""


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

    def __post_init__(self) -> None:
        """No rule may mean every frame or none by not being a number."""
        for value in (self.keep_best, self.rare, self.older_than_days or 0, self.free_bytes or 0):
            if not 0 <= value < MOST:  # nan is neither
                raise ValueError(f"{value} is no number from 0 to {MOST}")

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
    files = FrameFiles(connection)
    for candidate in _candidates(connection, files, rules):
        try:
            if rules.free_bytes is not None:
                # When nothing is really deleted, the room counts as if it were.
                free_bytes = disk_usage(os.path.dirname(files.real_path(candidate.path))).free
                if free_bytes + (0 if delete else pruned_bytes) >= rules.free_bytes:
                    return
            if delete and not _delete(connection, files, candidate, rules.describe()):
                continue
        except OSError as error:
            yield candidate, error
            continue
        pruned_bytes += candidate.bytes
        yield candidate, None


def _candidates(connection: sqlite3.Connection, files: FrameFiles, rules: PruneRules) -> Iterator[Candidate]:
    """Files that may go and that are on the disk as they were logged."""
    before = None
    if rules.older_than_days is not None:
        before = iso_utc(now() - timedelta(days=rules.older_than_days))
    values = {"best": rules.keep_best, "rare": rules.rare, "unknown": rules.unknown_too, "likely": LIKELY}
    state = connection.execute(_STATE).fetchone()
    _find_files(connection, files)
    for statement in filter(None, map(str.strip, _LABELS.split(";"))):
        connection.execute(statement)
    connection.execute(_KEPT, values)
    for media, path, size, mtime_ns, content, kind, label in connection.execute(_MAY_GO, {"before": before}).fetchall():
        candidate = Candidate(media, os.fsdecode(path), size, mtime_ns, content, kind, label, state)
        # Without one of its names a file takes as much room as before: it is part of a backup, or of an archive.
        if (seen := files.seen(candidate.path, size, mtime_ns)) is not None and seen.st_nlink == 1:
            yield candidate


def _find_files(connection: sqlite3.Connection, files: FrameFiles) -> None:
    """Fill the temporary table `there` with the classified frames of which a file is on the disk as it was logged."""
    for table in ("there", "decided", "label", "frequency", "kept"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    connection.execute("CREATE TEMP TABLE there (media INTEGER PRIMARY KEY)")
    logged = connection.execute(
        "SELECT f.media, f.path, f.bytes, f.mtime_ns FROM file f JOIN media m ON m.id = f.media"
        " WHERE m.status = 'classified' ORDER BY f.path"
    )
    found = {media for media, path, size, mtime_ns in logged if files.seen(os.fsdecode(path), size, mtime_ns)}
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO temp.there VALUES (?)", ((media,) for media in found))
    connection.execute("COMMIT")


def _delete(connection: sqlite3.Connection, files: FrameFiles, candidate: Candidate, rule: str) -> bool:
    """Delete one file that still holds what was logged; the tombstone is on the disk before the file goes.

    The file is held open from the look at its content to its end, and nobody can label the frame meanwhile.
    """
    with files.opened(candidate.path) as file:
        if file.content(candidate.digest) is None:
            return False  # the same size and time, and not the same frame
        with writing(connection):
            if _is_changed(connection, candidate):
                return False
            values = (candidate.media, path_value(candidate.path), iso_utc(now()), rule)
            tombstone = connection.execute(_TOMBSTONE, values).lastrowid
        is_gone = False
        try:
            with writing(connection):
                is_gone = not _is_changed(connection, candidate) and file.remove(candidate.digest)
        finally:
            if not is_gone:
                connection.execute("DELETE FROM pruned WHERE rowid = ?", (tombstone,))
    return is_gone


def _is_changed(connection: sqlite3.Connection, candidate: Candidate) -> bool:
    """Whether somebody labelled the frame, pinned another model or wrote another file since the list was made."""
    observation, pin = candidate.state
    values = {"media": candidate.media, "digest": candidate.digest, "observation": observation, "pin": pin}
    values["path"] = path_value(candidate.path)
    return bool(connection.execute(_CHANGED, values).fetchone()[0])
