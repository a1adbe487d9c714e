"""What each frame counts for in its event, out of the `event` table, or worked out where a database has none."""

import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.event import Rules
from edge.event_table import all_visits
from edge.report.local_time import NO_TIME, Seconds
from edge.report.survey import BLANK, KINDS, Records, chunks
from edge.taxon_book import TaxonBook

_EVENTS = """
SELECT em.media,
       CASE e.kind WHEN 'animal' THEN 0 WHEN 'human' THEN 1 WHEN 'vehicle' THEN 2 WHEN 'blank' THEN 3 ELSE 4 END,
       e.rank, e.taxon, coalesce(e.confidence, 'nan')
FROM event_media em JOIN event e ON e.id = em.event
"""


@dataclass(frozen=True, slots=True)
class Votes:
    """For each frame of a database: what it counts for in its event."""

    kind: NDArray[np.int8]
    """Place in `KINDS`; -1 for frames of no event."""
    taxon: NDArray[np.int32]
    confidence: NDArray[np.float32]


def stored_votes(connection: sqlite3.Connection, media: NDArray[np.int64], book: TaxonBook) -> Votes:
    """Read the `event` table; `media` are the frames' ids, ascending."""
    votes = _nothing(len(media))
    codes: dict[tuple[object, object], int] = {}
    for rows in chunks(connection.execute(_EVENTS)):
        ids, kind, rank, taxon, confidence = zip(*rows, strict=True)
        keys = list(zip(rank, taxon, strict=True))
        for key in sorted(set(keys) - codes.keys(), key=str):
            codes[key] = book.code(*key)
        place = np.searchsorted(media, np.array(ids, np.int64))
        votes.kind[place] = np.array(kind, np.int8)
        votes.taxon[place] = np.array([codes[key] for key in keys], np.int32)
        votes.confidence[place] = np.array(confidence, np.float32)
    return votes


def votes_missing(records: Records, at: Seconds, votes: Votes) -> bool:
    """Whether a frame that shows something, at a known time, belongs to no event."""
    shows = (records.kind != BLANK) & (at[records.frame] != NO_TIME)
    return bool((shows & (votes.kind[records.frame] < 0)).any())


def worked_out_votes(connection: sqlite3.Connection, media: NDArray[np.int64], book: TaxonBook, rules: Rules) -> Votes:
    """The same from the frames themselves: for a database that no daemon keeps up to date."""
    votes = _nothing(len(media))
    for _, visit in all_visits(connection, rules=rules):
        place = np.searchsorted(media, np.array([s.media for s in visit.sightings], np.int64))
        votes.kind[place] = KINDS.index(visit.kind)
        votes.taxon[place] = book.code(visit.rank, visit.taxon)
        votes.confidence[place] = np.nan if visit.confidence is None else visit.confidence
    return votes


def _nothing(size: int) -> Votes:
    return Votes(np.full(size, -1, np.int8), np.full(size, -1, np.int32), np.full(size, np.nan, np.float32))
