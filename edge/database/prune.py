"""Make room on the card, by hand and with care: only frames that are logged, and never the best or the rare ones.

Nothing else in this software deletes a capture. What goes leaves its rows and a tombstone (`pruned`).
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from shutil import disk_usage

from edge.capture.files import read_bytes, see
from edge.database.schema import open_database
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="delete; without it nothing is, and the list is shown")
    parser.add_argument("--free-bytes", type=int, metavar="N", help="stop when the card has so much room")
    parser.add_argument("--older-than-days", type=float, metavar="N", help="only frames received longer ago")
    parser.add_argument("--keep-best", type=int, default=20, metavar="N", help="of each taxon (default 20)")
    parser.add_argument("--rare", type=int, default=50, metavar="N", help="keep all unreviewed frames of a taxon with"
                        " at most N of them (default 50)")  # fmt: skip
    parser.add_argument("--unknown-too", action="store_true", help="also unreviewed frames that nobody could name")


def run(arguments: argparse.Namespace) -> int:
    """Show or delete; 0 done, 1 some could not be deleted, 2 wrong use."""
    if not arguments.db.is_file():
        print(f"edge-db: {arguments.db} is not there; name the database with --db", file=sys.stderr)
        return 2
    with closing(open_database(arguments.db)) as connection:
        return _run(connection, arguments)


def _run(connection: sqlite3.Connection, arguments: argparse.Namespace) -> int:
    rule = (
        f"keep-best {arguments.keep_best}, rare {arguments.rare}"
        f"{', unknown too' if arguments.unknown_too else ''}"
        f"{'' if arguments.older_than_days is None else f', older than {arguments.older_than_days:g} days'}"
    )
    went = went_bytes = failed = 0
    for candidate in candidates(connection, arguments):
        if (
            arguments.free_bytes is not None
            and _free_bytes(candidate.path, went_bytes, arguments) >= arguments.free_bytes
        ):
            break
        try:
            if arguments.yes and not _delete(connection, candidate, rule):
                continue
        except OSError as error:
            print(f"edge-db: {candidate.path!a}: {error.strerror}", file=sys.stderr)
            failed += 1
            continue
        if not arguments.yes:
            print(f"{candidate.bytes:>12,}  {candidate.label}  {ascii(candidate.path)[1:-1]}")
        went += 1
        went_bytes += candidate.bytes
    verb = "deleted" if arguments.yes else "could go; nothing was deleted, --yes does it"
    print(f"{went} files, {went_bytes:,} bytes {verb} ({rule})")
    return 1 if failed else 0


def candidates(connection: sqlite3.Connection, arguments: argparse.Namespace) -> Iterator[Candidate]:
    """Files that may go, oldest first, and that are on the disk as they were logged."""
    before = None
    if arguments.older_than_days is not None:
        before = iso_utc(now() - timedelta(days=arguments.older_than_days))
    values = {"best": arguments.keep_best, "rare": arguments.rare, "unknown": arguments.unknown_too, "before": before}
    for media, path, size, mtime_ns, content, kind, label in connection.execute(_MAY_GO, values).fetchall():
        candidate = Candidate(media, os.fsdecode(path), size, mtime_ns, content, kind, label)
        seen = see(candidate.path)
        if seen is not None and (seen.bytes, seen.mtime_ns) == (size, mtime_ns):
            yield candidate


def _delete(connection: sqlite3.Connection, candidate: Candidate, rule: str) -> bool:
    """Delete one file that still holds what was logged; the tombstone is on the disk before the file goes."""
    if digest(read_bytes(candidate.path, MAX_BYTES)) != candidate.digest:
        return False  # the same size and time, and not the same frame
    connection.execute("BEGIN IMMEDIATE")
    tombstone = connection.execute(
        _TOMBSTONE, (candidate.media, _stored(candidate.path), iso_utc(now()), rule)
    ).lastrowid
    connection.commit()
    try:
        os.unlink(candidate.path)
    except OSError:
        connection.execute("DELETE FROM pruned WHERE rowid = ?", (tombstone,))
        raise
    return True


def _free_bytes(path: str, went_bytes: int, arguments: argparse.Namespace) -> int:
    """Of the card; when nothing is really deleted, as if it were."""
    return disk_usage(os.path.dirname(path)).free + (0 if arguments.yes else went_bytes)


def _stored(path: str) -> str | bytes:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path
