"""The survey: every frame once with its labels, merged over all databases, as columns of numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.database.taxon_index import Model
from edge.inference.taxonomy import Taxon
from edge.report.read.deployment import Deployment
from edge.report.read.local_time import NO_TIME, Seconds
from edge.vocabulary import ClockDoubt, DecisionReason, Kind, MediaStatus, Method

# Columns hold places in these tuples, which keep the order of the vocabularies.
KINDS = tuple(kind.value for kind in Kind)
ANIMAL, HUMAN, VEHICLE, BLANK, UNKNOWN = map(
    KINDS.index, (Kind.ANIMAL, Kind.HUMAN, Kind.VEHICLE, Kind.BLANK, Kind.UNKNOWN)
)
STATUSES = tuple(status.value for status in MediaStatus)
PENDING, CLASSIFIED, UNREADABLE = map(
    STATUSES.index, (MediaStatus.PENDING, MediaStatus.CLASSIFIED, MediaStatus.UNREADABLE)
)
REASONS = ("", *(reason.value for reason in DecisionReason))
METHODS = (Method.MACHINE.value, Method.HUMAN.value)
"""By `Records.human`."""
DOUBTS = tuple(doubt.value for doubt in ClockDoubt)


def doubt_bit(doubt: ClockDoubt) -> int:
    """The bit of `Frames.doubt` that stands for a doubt."""
    return 1 << DOUBTS.index(doubt)


def doubt_bits(text: str) -> int:
    """The bits of the doubts in a column `clock_doubt`."""
    return sum(doubt_bit(ClockDoubt(word)) for word in text.split(",") if word in DOUBTS)


NOT_BELIEVED = (
    ClockDoubt.BEFORE_2005,
    ClockDoubt.FUTURE,
    ClockDoubt.BACKWARDS,
    ClockDoubt.RESET,
    ClockDoubt.EDITED,
    ClockDoubt.UNREADABLE_TIME,
)
"""Doubts under which a time counts in no rate, no effort and no period."""
WRONG_CLOCK = sum(map(doubt_bit, NOT_BELIEVED))

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
SmallCodes = NDArray[np.int8]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frames:
    """One entry for each distinct frame, by deployment and time (unknown times first)."""

    database: NDArray[np.int16]
    """Place in `Survey.paths`."""
    media: Ints
    """`media.id` in that database."""
    deployment: Codes
    """Place in `Survey.deployments`."""
    at: Seconds
    """UTC seconds; `NO_TIME` when the frame has no time."""
    local: Seconds
    """Local time at the camera."""
    status: SmallCodes
    """Place in `STATUSES`."""
    doubt: NDArray[np.int16]
    """Bits, in the order of `DOUBTS`."""
    infrared: SmallCodes
    """1 infra-red or greyscale, 0 colour, -1 not known."""
    outside: Flags
    """Dated, but outside the period of its camera (see `edge.report.read.believable_times`)."""

    def __len__(self) -> int:
        return len(self.media)

    @property
    def clock_good(self) -> Flags:
        """bool[N]: whether the time is believable and within the camera's period, so that it counts in rates."""
        return np.asarray((self.at != NO_TIME) & ((self.doubt & WRONG_CLOCK) == 0) & ~self.outside)

    def take(self, mask: Flags | slice) -> "Frames":
        return Frames(*(getattr(self, name)[mask] for name in self.__slots__))

    def of(self, deployment: int) -> slice:
        """The places of the frames of one deployment, which lie together."""
        first, end = np.searchsorted(self.deployment, (deployment, deployment + 1)).tolist()
        return slice(first, end)


@dataclass(frozen=True, slots=True)
class Records:
    """The labels of the frames: one entry for each frame and taxon, of people where a person reviewed the frame."""

    frame: Codes
    """Place in `Frames`."""
    observation: Ints
    """`observation.id` in the frame's database."""
    kind: SmallCodes
    """Place in `KINDS`."""
    taxon: Codes
    """Place in `Survey.taxa`; -1 unless the kind is animal."""
    confidence: Floats
    """0..1; NaN for labels of people."""
    count: Codes
    """Number of animals; 0 when they were not counted."""
    human: Flags
    reason: SmallCodes
    """Place in `REASONS`."""
    model: Codes
    """Place in `Survey.models`; -1 for people."""
    event_kind: SmallCodes
    """The decision of the record's event: place in `KINDS`, -1 for records of no event."""
    event_taxon: Codes
    event_confidence: Floats
    """0..1; negative or NaN for events that people named."""

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, mask: Flags) -> "Records":
        return Records(*(getattr(self, name)[mask] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labels of the frames that both a person and a model classified."""

    frame: Codes
    human_kind: SmallCodes
    human_taxon: Codes
    machine_kind: SmallCodes
    machine_taxon: Codes
    machine_confidence: Floats

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that could not be classified."""

    path: str
    status: str
    reason: str
    at: str
    """When it was received, ISO 8601 UTC."""


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """Times at which a device was alive."""

    at: Seconds
    free_bytes: Ints
    """-1 where not known."""
    clock_synchronised: SmallCodes
    """1, 0, or -1 where not known."""
    problem: str = ""
    """What kept the watch from seeing every file as it came, at the newest of these times; empty without a problem."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that reports are computed from."""

    paths: tuple[Path, ...]
    deployments: tuple[Deployment, ...]
    taxa: tuple[Taxon, ...]
    models: tuple[Model, ...]
    frames: Frames
    records: Records
    pairs: Pairs
    people: NDArray[np.int32]
    """Places of frames that show, or may show, a person or a vehicle: never shown."""
    heartbeats: tuple[Heartbeats, ...]
    """One for each database."""
    problems: tuple[Problem, ...]
    """The newest unreadable files, at most `PROBLEMS_KEPT`."""
    status_counts: dict[tuple[str, str], int]
    """(status, reason) -> files, whatever is selected."""
    copied_together: int
    """Frames whose only time is that of a copied or changed file. They count as undated."""
    live: frozenset[str]
    """Deployments whose frames arrive within a day, so that heartbeats say when their cameras were working."""
    boxed: bool = False
    """Whether a detector or a person drew any bounding box."""
    device_behind: tuple[int, ...] = ()
    """For each database, how many frames its device took for future ones because its own clock was behind."""
    duplicates: int = 0
    """Frames found in more than one database and counted once."""


PROBLEMS_KEPT = 200
