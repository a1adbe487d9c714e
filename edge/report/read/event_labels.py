"""What each frame counts for in its event, out of the `event` table, or worked out where a database has none."""

import sqlite3
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules
from edge.database.events.table import all_events
from edge.database.taxon_index import TaxonIndex
from edge.report.read.columns import KeyCodes, float32, int64, key_of, read_columns
from edge.report.read.local_time import NO_TIME, Seconds
from edge.report.read.survey import BLANK, KINDS, Records

_EVENTS = f"SELECT id, {key_of('kind', 'rank', 'taxon')}, coalesce(confidence, -1) FROM event ORDER BY id"
_MEMBERS = "SELECT event, media FROM event_media"


@dataclass(frozen=True, slots=True)
class EventLabels:
    """For each frame of a database: what it counts for in its event."""

    kind: NDArray[np.int8]
    """Place in `KINDS`; -1 for frames of no event."""
    taxon: NDArray[np.int32]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """The `event` table and its members as they were read, in columns."""

    id: NDArray[np.int64]
    coded: NDArray[np.int32]
    confidence: NDArray[np.float32]
    keys: KeyCodes
    member_event: NDArray[np.int64]
    member_media: NDArray[np.int64]


def read_events(connection: sqlite3.Connection) -> StoredEvents:
    """Read both tables."""
    keys = KeyCodes()
    id_, coded, confidence = read_columns(connection, _EVENTS, (int64, keys, float32))
    return StoredEvents(id_, coded, confidence, keys, *read_columns(connection, _MEMBERS, (int64, int64)))


def stored_votes(events: StoredEvents, media: NDArray[np.int64], book: TaxonIndex) -> EventLabels:
    """What each of `media` (ids, ascending) counts for by the events that the daemon stored."""
    votes = _nothing(len(media))
    event = np.searchsorted(events.id, events.member_event)
    which = events.coded[event]
    place = np.searchsorted(media, events.member_media)
    votes.kind[place] = events.keys.table(lambda part: KINDS.index(part[0]), np.int8)[which]
    votes.taxon[place] = events.keys.table(lambda part: book.code(part[1], part[2]), np.int32)[which]
    votes.confidence[place] = events.confidence[event]
    return votes


def votes_missing(records: Records, at: Seconds, votes: EventLabels) -> bool:
    """Whether a frame that shows something, at a known time, belongs to no event."""
    shows = (records.kind != BLANK) & (at[records.frame] != NO_TIME)
    return bool((shows & (votes.kind[records.frame] < 0)).any())


def worked_out_votes(
    connection: sqlite3.Connection, media: NDArray[np.int64], book: TaxonIndex, rules: Rules
) -> EventLabels:
    """The same from the frames themselves: for a database that no daemon keeps up to date."""
    votes = _nothing(len(media))
    for _, visit in all_events(connection, rules=rules):
        place = np.searchsorted(media, np.array([s.media for s in visit.members], np.int64))
        votes.kind[place] = KINDS.index(visit.kind)
        votes.taxon[place] = book.code(visit.rank, visit.taxon)
        votes.confidence[place] = np.nan if visit.confidence is None else visit.confidence
    return votes


def _nothing(size: int) -> EventLabels:
    return EventLabels(np.full(size, -1, np.int8), np.full(size, -1, np.int32), np.full(size, np.nan, np.float32))
