"""The event of each record: from the table `event`, or computed where a database holds none."""

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules
from edge.database.events.table import all_events
from edge.database.taxon_index import TaxonIndex, lineage_of
from edge.inference.taxonomy import Taxon
from edge.report.read.columns import KeyCodes, float32, int64, key_of, read_columns
from edge.report.read.local_time import NO_TIME, Seconds
from edge.report.read.survey import BLANK, KINDS, Records

_EVENTS = f"SELECT id, {key_of('kind', 'rank', 'taxon')}, coalesce(confidence, -1) FROM event ORDER BY id"
_MEMBERS = "SELECT event, media FROM event_media"


@dataclass(frozen=True, slots=True)
class EventLabels:
    """What each of `Records` counts for in its event."""

    kind: NDArray[np.int8]
    """Place in `KINDS`; -1 for records of no event."""
    taxon: NDArray[np.int32]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Members:
    """Which frame belongs to which event: one entry for each frame and event, with the event's decision."""

    frame: NDArray[np.int64]
    kind: NDArray[np.int8]
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


def stored_members(events: StoredEvents, media: NDArray[np.int64], taxa: TaxonIndex) -> Members:
    """The members of the events that the database holds; `media` are the ids of the frames, ascending."""
    event = np.searchsorted(events.id, events.member_event)
    decision = events.coded[event]
    return Members(
        np.searchsorted(media, events.member_media),
        events.keys.table(lambda part: KINDS.index(part[0]), np.int8)[decision],
        events.keys.table(lambda part: taxa.code(part[1], part[2]), np.int32)[decision],
        events.confidence[event],
    )


def computed_members(
    connection: sqlite3.Connection, media: NDArray[np.int64], taxa: TaxonIndex, rules: Rules
) -> Members:
    """The same from the frames themselves, for a database whose events are not up to date."""
    ids, kind, taxon, confidence = array("q"), array("b"), array("i"), array("f")
    for _, event in all_events(connection, rules=rules):
        size = len(event.members)
        ids.extend(member.media for member in event.members)
        kind.extend([KINDS.index(event.kind)] * size)
        taxon.extend([taxa.code(event.rank, event.taxon)] * size)
        confidence.extend([-1.0 if event.confidence is None else event.confidence] * size)
    frame = np.searchsorted(media, np.array(ids, np.int64))
    return Members(frame, np.array(kind, np.int8), np.array(taxon, np.int32), np.array(confidence, np.float32))


def label_records(records: Records, members: Members, frames: int, taxa: Sequence[Taxon]) -> EventLabels:
    """Find the event of each record. A frame has one, unless a person named several taxa in it."""
    # Place -1, the entry appended to each column, stands for no event.
    kind, taxon, confidence = (
        np.append(column, np.array(none, column.dtype))
        for column, none in ((members.kind, -1), (members.taxon, -1), (members.confidence, np.nan))
    )
    last = np.full(frames, -1, np.int64)
    last[members.frame] = np.arange(len(members.frame))
    member = np.where(records.kind == BLANK, -1, last[records.frame])
    differs = (kind[member] != records.kind) | (taxon[member] != records.taxon)
    unclear = np.flatnonzero(records.human & (member >= 0) & differs)
    order = np.argsort(members.frame, kind="stable") if len(unclear) else member[:0]
    first, end = (np.searchsorted(members.frame[order], records.frame[unclear], side) for side in ("left", "right"))
    for record, *span in zip(unclear.tolist(), first.tolist(), end.tolist(), strict=True):
        events = {(int(kind[i]), int(taxon[i])): i for i in order[slice(*span)].tolist()}
        own = int(records.kind[record]), int(records.taxon[record])
        member[record] = events[min(events, key=lambda event: _distance(own, event, taxa))]
    return EventLabels(kind[member], taxon[member], confidence[member])


def _distance(own: tuple[int, int], event: tuple[int, int], taxa: Sequence[Taxon]) -> tuple[int, str, str]:
    """How far an event's decision is from what a person named: the same, a finer taxon, a coarser one, another."""
    if own == event or own[1] < 0 or event[1] < 0:
        return 0 if own == event else 3, "", ""
    named, decided = taxa[own[1]], taxa[event[1]]
    finer = (named.rank, named.scientific_name) in lineage_of(decided)
    coarser = (decided.rank, decided.scientific_name) in lineage_of(named)
    return 1 if finer else 2 if coarser else 3, decided.rank, decided.scientific_name


def event_missing(records: Records, at: Seconds, labels: EventLabels) -> bool:
    """Whether a frame that shows something, at a known time, belongs to no event."""
    shows = (records.kind != BLANK) & (at[records.frame] != NO_TIME)
    return bool((shows & (labels.kind < 0)).any())
