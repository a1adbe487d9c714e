"""Grouping of frames into bursts (frames of one trigger) and independent events.

A burst is a run of frames at one deployment, each within `burst_s` of the one before. An event is a run of bursts of
one taxon at one deployment, each within the independence interval of the one before. Blank frames belong to no event.
A burst that the model could name only coarsely (a family, say) joins the event of a finer taxon of the same lineage
when there is one within the interval: it is the same animal, seen worse.

The event's decision is made from the mean of its frames' log-probabilities: the ranking is that of their sum, the
confidence that of a single frame, for frames of one event show the same pose, light and doubt. (On the 22 development
sequences of several frames the starter model's events named a wrong taxon 4 times with the plain sum and lost 7 animals
to `blank`, 3 and 2 with the sum over the root of the number, 1 and 0 with the mean.)
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.database.taxon_index import TaxonIndex, TaxonKey, lineage_of
from edge.inference.decision import Decider, Decision
from edge.inference.probabilities import pool

Ints = NDArray[np.int64]
Deciders = Mapping[tuple[int, int | None], Decider]
"""Decision rules by model and configuration."""
Unit = tuple[str, TaxonKey | None]
"""What separates events: the kind, and for animals the taxon."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When frames belong together."""

    interval_s: int = 1800
    """Longest gap between frames of an event in seconds; 30 minutes by custom."""
    burst_s: int = 10
    """Longest gap between frames of a burst in seconds."""
    by_taxon: Mapping[str, int] = field(default_factory=dict)
    """Scientific name -> its own `interval_s`."""

    def interval(self, taxon: str | None) -> int:
        return self.by_taxon.get(taxon or "", self.interval_s)

    @property
    def longest_s(self) -> int:
        return max([self.interval_s, self.burst_s, *self.by_taxon.values()])


DEFAULT_RULES = Rules()
_COPY_STEP_S, _LONGEST_BURST = 2, 10


def burst_numbers(deployment: NDArray[np.int32], at: Ints, burst_s: int) -> Ints:
    """int64[N] number of each frame's burst, for frames sorted by deployment and time (seconds)."""
    return _runs((deployment[1:] != deployment[:-1]) | (_steps(at) > burst_s), len(at))


def copied_together(deployment: NDArray[np.int32], at: Ints, undated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool[N]: frames whose only time is the file's, and that of a copy of many files at once.

    A frame without EXIF has the time of its file. Where frames come one by one that is when they were taken; where a
    run of them is longer than any camera's burst, it is when somebody copied them.
    """
    places = np.flatnonzero(undated)
    order = places[np.lexsort((at[places], deployment[places]))]
    runs = burst_numbers(deployment[order], at[order], _COPY_STEP_S)
    copied = np.zeros(len(at), bool)
    copied[order] = np.bincount(runs)[runs] > _LONGEST_BURST if len(runs) else False
    return copied


def chain(deployment: NDArray[np.int32], at: Ints, unit: NDArray[np.int32], interval_s: NDArray[np.int64]) -> Ints:
    """int64[N] number of each frame's event, for frames in any order; numbers follow deployment, unit and time.

    `unit` separates events, `interval_s` is the independence interval of each frame's unit.
    """
    order = np.lexsort((at, unit, deployment))
    parted = (
        (deployment[order][1:] != deployment[order][:-1])
        | (unit[order][1:] != unit[order][:-1])
        | (_steps(at[order]) > interval_s[order][1:])
    )
    numbers = np.empty(len(at), np.int64)
    numbers[order] = _runs(parted, len(at))
    return numbers


def _steps(at: Ints) -> Ints:
    """Seconds from each frame to the next; frames without a time are far from everything."""
    lost = at < -(10**15)
    return np.where(lost[1:] | lost[:-1], np.int64(2**62), np.diff(np.where(lost, 0, at)))


def _runs(parted: NDArray[np.bool_], size: int) -> Ints:
    numbers = np.zeros(size, np.int64)
    if size:
        np.cumsum(parted, out=numbers[1:])
    return numbers


@dataclass(frozen=True, slots=True)
class EventMember:
    """One taxon, or people or a vehicle, in one frame; blank frames have none."""

    media: int
    at: int
    """UTC seconds."""
    kind: str
    taxon: str | None
    rank: str | None
    common_name: str | None
    count: int | None
    confidence: float | None
    reason: str | None
    human: bool
    answered_by: tuple[int, int | None] | None = None
    """Model and configuration; `None` for people."""
    log_probabilities: NDArray[np.float16] | None = None

    @property
    def key(self) -> Unit:
        return (self.kind, (self.rank or "", self.taxon) if self.taxon else None)


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its frames and the decision on all of them together."""

    members: tuple[EventMember, ...]
    kind: str
    taxon: str | None
    rank: str | None
    common_name: str | None
    count: int | None
    """The most animals in any one frame, where anyone counted."""
    confidence: float | None
    reason: str | None
    human: bool


class Grouper:
    """Groups the frames of one deployment; knows the models' labels and their decision rules."""

    def __init__(self, taxa: TaxonIndex, deciders: Deciders, rules: Rules = DEFAULT_RULES) -> None:
        self._taxa, self._deciders, self._rules = taxa, deciders, rules
        self._lines: dict[TaxonKey, frozenset[TaxonKey]] = {}

    def events(self, members: Sequence[EventMember]) -> list[Event]:
        """Events of one deployment; `members` in order of time, with all frames within reach of each other."""
        if not members:
            return []
        at = np.array([s.at for s in members], np.int64)
        nowhere = np.zeros(len(at), np.int32)
        bursts: dict[int, list[int]] = defaultdict(list)
        for place, number in enumerate(burst_numbers(nowhere, at, self._rules.burst_s).tolist()):
            bursts[number].append(place)
        units: dict[int, Unit] = {}
        for places in bursts.values():
            units |= self._vote(members, places)
        settled = self._adopt(at, units)
        codes = {unit: code for code, unit in enumerate(dict.fromkeys(settled[i] for i in range(len(at))))}
        unit = np.array([codes[settled[i]] for i in range(len(at))], np.int32)
        interval = np.array([self._rules.interval(_name(settled[i])) for i in range(len(at))], np.int64)
        grouped: dict[int, list[int]] = defaultdict(list)
        for place, number in enumerate(chain(nowhere, at, unit, interval).tolist()):
            grouped[number].append(place)
        return [self._decide([members[i] for i in places], settled[places[0]]) for places in grouped.values()]

    def _vote(self, members: Sequence[EventMember], places: list[int]) -> dict[int, Unit]:
        """What each frame of one burst counts for: what people saw, else one decision on all its frames."""
        said = list(dict.fromkeys(members[i].key for i in places if members[i].human))
        units = {}
        animals = []
        for i in places:
            if members[i].kind in ("animal", "unknown") and not members[i].human:
                animals.append(i)
            else:
                units[i] = members[i].key
        if animals:
            seen = [unit for unit in said if unit[0] == "animal"]
            if seen:
                units |= {i: members[i].key if members[i].key in seen else seen[0] for i in animals}
            else:
                together = self._together([members[i] for i in animals])
                units |= dict.fromkeys(animals, together)
        return units

    def _together(self, members: list[EventMember]) -> Unit:
        keys = {s.key for s in members}
        if len(keys) == 1:
            return keys.pop()
        pooled = self._pooled(members)
        if pooled is not None and pooled.kind == "animal":
            return ("animal", (pooled.rank or "", pooled.taxon or ""))
        return _most_voted(members).key

    def _adopt(self, at: Ints, units: dict[int, Unit]) -> dict[int, Unit]:
        """Coarse decisions join the nearest finer one of their lineage within the interval; the finest come first."""
        held: dict[Unit, list[int]] = defaultdict(list)
        for place, unit in units.items():
            held[unit].append(place)
        settled: dict[Unit, list[int]] = defaultdict(list)
        below: dict[TaxonKey | None, list[Unit]] = defaultdict(list)
        for unit in sorted(held, key=lambda one: -len(self._line(one))):
            times = [(np.sort(at[settled[other]]), other) for other in below[unit[1]]]
            for place in held[unit]:
                settled[self._nearest(int(at[place]), times) or unit].append(place)
            if settled[unit]:
                for step in self._line(unit) - {unit[1]}:
                    below[step].append(unit)
        return {place: unit for unit, places in settled.items() for place in places}

    def _nearest(self, at: int, times: list[tuple[Ints, Unit]]) -> Unit | None:
        """The unit that was recorded closest to a moment, of those within their interval."""
        best: tuple[int, str, Unit] | None = None
        for there, unit in times:
            near = int(np.searchsorted(there, at))
            gap = min(abs(int(step) - at) for step in there[max(0, near - 1) : near + 1])
            if gap <= self._rules.interval(_name(unit)) and (best is None or (gap, str(unit)) < best[:2]):
                best = (gap, str(unit), unit)
        return best[2] if best else None

    def _decide(self, members: list[EventMember], unit: Unit) -> Event:
        kind, key = unit
        counts = [s.count for s in members if s.count]
        common: tuple[int | None] = (max(counts, default=None),)
        people = [s for s in members if s.human and s.key == unit]
        if people:
            first = people[0]
            return Event(tuple(members), kind, first.taxon, first.rank, first.common_name, *common, None, None, True)
        pooled = self._pooled(members) if kind in ("animal", "unknown") and len(members) > 1 else None
        if pooled is not None and self._fits(pooled, unit):
            answer: Decision | EventMember = pooled
        else:
            answer = _most_voted([s for s in members if s.key == unit] or members)
            if answer.key != unit and key is not None:  # decided together, by none alone
                taxon = self._taxa.taxa[self._taxa.code(*key)]
                confidence = float(np.mean([s.confidence or 0.0 for s in members]))
                return Event(
                    tuple(members), kind, key[1], key[0], taxon.common_name, *common, confidence, "rolled_up", False
                )
        return Event(
            tuple(members),
            answer.kind,
            answer.taxon,
            answer.rank,
            answer.common_name,
            *common,
            answer.confidence,
            answer.reason,
            False,
        )

    def _pooled(self, members: list[EventMember]) -> Decision | None:
        """One decision from pooled log-probabilities, when one model classified all frames and its card can be read."""
        pairs = {s.answered_by for s in members}
        pair = pairs.pop() if len(pairs) == 1 else None
        decider = self._deciders.get(pair) if pair is not None else None
        rows = [s.log_probabilities for s in members if s.log_probabilities is not None]
        if decider is None or len(rows) != len(members):
            return None
        return decider.decide(pool(np.stack(rows)))

    def _fits(self, decision: Decision, unit: Unit) -> bool:
        """Whether the pooled decision is of the lineage that the frames were grouped by."""
        if decision.kind != unit[0]:
            return False
        own: Unit = ("animal", (decision.rank or "", decision.taxon)) if decision.taxon else (decision.kind, None)
        return own == unit or self._above(own, unit) or self._above(unit, own)

    def _above(self, coarse: Unit, fine: Unit) -> bool:
        """Whether `coarse` is an ancestor of `fine`."""
        return coarse != fine and coarse[1] in self._line(fine)

    def _line(self, unit: Unit) -> frozenset[TaxonKey]:
        """The taxon of a unit with all its ancestors; empty for what is no taxon."""
        key = unit[1]
        if key is None:
            return frozenset()
        if key not in self._lines:
            self._lines[key] = frozenset(lineage_of(self._taxa.taxa[self._taxa.code(*key)]))
        return self._lines[key]


def _most_voted(members: list[EventMember]) -> EventMember:
    """The member with the highest confidence, of the decision with the largest summed confidence."""
    votes: dict[Unit, float] = defaultdict(float)
    for s in members:
        votes[s.key] += s.confidence or 1e-6
    unit = max(votes, key=lambda key: (key[0] == "animal", votes[key], str(key)))
    return max((s for s in members if s.key == unit), key=lambda s: s.confidence or 0.0)


def _name(unit: Unit) -> str | None:
    return unit[1][1] if unit[1] else None
