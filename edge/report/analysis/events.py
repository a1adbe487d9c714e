"""Independent events of a survey, over all its databases, as columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules, burst_numbers, chain
from edge.report.read.local_time import NO_TIME, Seconds
from edge.report.read.survey import ANIMAL, BLANK, CLASSIFIED, Codes, Flags, Floats, SmallCodes, Survey


@dataclass(frozen=True, slots=True)
class Events:
    """One entry for each event, by deployment, unit and time; frames without a time belong to none."""

    deployment: Codes
    kind: SmallCodes
    taxon: Codes
    """-1 unless the kind is animal."""
    start: Seconds
    """UTC."""
    end: Seconds
    local_start: Seconds
    """Local time at the camera."""
    frames: Codes
    """Number of its frames."""
    count: Codes
    """Most animals in one frame; 0 where they were not counted."""
    confidence: Floats
    """NaN for events that people named."""
    human: Flags
    clock_good: Flags
    """Whether any of its frames has a believable time within the period of its camera."""
    of_record: Codes
    """One entry for each of `Survey.records`: the place of its event, -1 for none."""

    def __len__(self) -> int:
        return len(self.start)

    @property
    def animals(self) -> Flags:
        return np.asarray(self.kind == ANIMAL)

    @property
    def rated(self) -> Flags:
        """Events of animals that count in rates."""
        return np.asarray(self.animals & self.clock_good)


def find_events(survey: Survey, rules: Rules) -> Events:
    """Chain the records of the survey into events, each by the decision of the event that the database knows it in.

    With the rules that the database was written with these are the events of its table `event`.
    """
    records, frames = survey.records, survey.frames
    frame = records.frame
    grouped = records.event_kind >= 0
    kind = np.where(grouped, records.event_kind, records.kind)
    taxon = np.where(grouped, records.event_taxon, records.taxon)
    confidence = np.where(grouped, records.event_confidence, records.confidence)
    # A person's coarse label that joined an event of a finer taxon does not make the event a person's.
    human = records.human & (kind == records.kind) & (taxon == records.taxon)
    shows = np.flatnonzero((kind != BLANK) & (frames.at[frame] != NO_TIME) & (frames.status[frame] == CLASSIFIED))
    kind, taxon, confidence, human = kind[shows], taxon[shows], confidence[shows], human[shows]
    at, deployment = frames.at[frame[shows]], frames.deployment[frame[shows]]
    unit = (kind.astype(np.int32) * np.int32(len(survey.taxa) + 1) + taxon + 1).astype(np.int32)
    intervals = np.array([rules.interval(None), *(rules.interval(t.scientific_name) for t in survey.taxa)], np.int64)
    number = chain(deployment, at, unit, intervals[taxon + 1])
    size = int(number.max()) + 1 if len(number) else 0
    of_record = np.full(len(records), -1, np.int32)
    of_record[shows] = number
    order = np.lexsort((at, number))
    first = order[np.searchsorted(number[order], np.arange(size))]
    start, end = at[first], np.full(size, NO_TIME)
    np.maximum.at(end, number, at)
    counts = np.zeros(size, np.int32)
    np.maximum.at(counts, number, records.count[shows])
    people = np.zeros(size, bool)
    people[number[human]] = True
    surest = np.full(size, -1, np.float32)
    np.fmax.at(surest, number, confidence)
    distinct = np.unique(np.stack([number, frame[shows].astype(np.int64)]), axis=1)[0] if size else number
    return Events(
        deployment[first],
        kind[first],
        taxon[first],
        start,
        end,
        frames.local[frame[shows]][first],
        np.bincount(distinct, minlength=size).astype(np.int32),
        counts,
        np.where(people | (surest < 0), np.nan, surest).astype(np.float32),
        people,
        np.bincount(number[frames.clock_good[frame[shows]]], minlength=size) > 0,
        of_record,
    )


def frame_bursts(survey: Survey, rules: Rules) -> NDArray[np.int64]:
    """int64[frames] number of each frame's burst; a frame without a time is a burst of its own."""
    return burst_numbers(survey.frames.deployment, survey.frames.at, rules.burst_s)
