"""What counts of all that was said about a frame: the newest person's word, else the newest run's model."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.database.taxon_index import TaxonIndex
from edge.report.read.columns import KeyCodes, float32, int32, int64, joined, key_of, key_parts, read_columns
from edge.report.read.survey import ANIMAL, HUMAN, KINDS, REASONS, VEHICLE, Pairs, Records
from edge.vocabulary import BoxSource, Method

_KEY = key_of(
    "method", "kind", "rank", "taxon", "reason", "model", "subject", "box_source",
    "CASE WHEN method = 'human' THEN classified_by END", "CASE WHEN method = 'human' THEN common_name END",
)  # fmt: skip
_OBSERVATIONS = f"SELECT id, media, {_KEY}, coalesce(confidence, -1), coalesce(count, 0) FROM observation"
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class EffectiveLabels:
    """What counts for the frames of one database; `frame` is the place of the frame in the order read."""

    records: Records
    pairs: Pairs
    people: NDArray[np.int32]
    boxed: bool
    """Whether a detector or a person drew any box."""

    @classmethod
    def none(cls) -> "EffectiveLabels":
        return cls.stacked([])

    def moved(self, by: int) -> "EffectiveLabels":
        """The same when the frames stand `by` places further on."""
        return EffectiveLabels(_moved(self.records, by), _moved(self.pairs, by), self.people + np.int32(by), self.boxed)

    @classmethod
    def stacked(cls, parts: Sequence["EffectiveLabels"]) -> "EffectiveLabels":
        return cls(
            _stacked(Records, [part.records for part in parts]),
            _stacked(Pairs, [part.pairs for part in parts]),
            joined([part.people for part in parts], np.int32),
            any(part.boxed for part in parts),
        )


_DTYPES = {
    "observation": np.int64,
    "kind": np.int8,
    "human_kind": np.int8,
    "machine_kind": np.int8,
    "reason": np.int8,
    "event_kind": np.int8,
    "confidence": np.float32,
    "event_confidence": np.float32,
    "machine_confidence": np.float32,
    "human": np.bool_,
}


def _stacked(table: Any, parts: list[Any]) -> Any:
    return table(
        *(joined([getattr(part, name) for part in parts], _DTYPES.get(name, np.int32)) for name in table.__slots__)
    )


def _moved(table: Any, by: int) -> Any:
    return type(table)(table.frame + np.int32(by), *(getattr(table, name) for name in table.__slots__[1:]))


@dataclass(frozen=True, slots=True)
class Observations:
    """The observation table as it was read, in columns; what repeats is numbered in `keys`."""

    id: Array
    media: Array
    coded: Array
    confidence: Array
    count: Array
    keys: KeyCodes


def read_observations(connection: sqlite3.Connection) -> Observations:
    """Read the whole table."""
    keys = KeyCodes()
    id_, media, coded, confidence, count = read_columns(connection, _OBSERVATIONS, (int64, int64, keys, float32, int32))
    return Observations(id_, media, coded, confidence, count, keys)


@dataclass(slots=True)
class _Rows:
    """The observation table in columns, each with the place of its frame."""

    id: Array
    frame: Array
    model: Array
    human: Array
    subject: Array
    kind: Array
    taxon: Array
    confidence: Array
    count: Array
    reason: Array
    box: Array
    reviewer: Array

    def take(self, mask: Array) -> "_Rows":
        return _Rows(*(getattr(self, name)[mask] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.id)


def choose(
    said: Observations,
    media: NDArray[np.int64],
    models: dict[int, int],
    preferred: tuple[int | None, bool],
    book: TaxonIndex,
) -> EffectiveLabels:
    """Keep what counts of all that was said.

    `media` are the frames' ids, ascending; `models` gives each model id its place in the survey; `preferred` is the
    model id whose answers count and whether no other's may stand in.
    """
    rows = _rows(said, media, book)
    model_place = np.full(max(models, default=0) + 2, -1, np.int32)
    for id_, place in models.items():
        model_place[id_] = place
    machine = _machine(rows, preferred, model_place)
    human = _human(rows.take(rows.human))
    looked = np.zeros(len(media), bool)
    looked[human.frame] = True
    counted = Records(
        *(
            np.concatenate([getattr(human, name), getattr(machine, name)[~looked[machine.frame]]])
            for name in Records.__slots__
        )
    )
    return EffectiveLabels(counted, _pairs(human, machine), _people(rows, human, looked), bool(rows.box.any()))


def _rows(said: Observations, media: NDArray[np.int64], book: TaxonIndex) -> _Rows:
    keys, coded = said.keys, said.coded
    parts = [key_parts(text) for text in keys.codes]
    book.learn_common_names((part[2], part[3], part[9]) for part in parts)
    reviewers = {name: i for i, name in enumerate(sorted({part[8] for part in parts if part[0] == Method.HUMAN}))}
    place = np.searchsorted(media, said.media)
    rows = _Rows(
        said.id,
        place.astype(np.int32),
        keys.table(lambda part: int(part[5] or -1), np.int32)[coded],
        keys.table(lambda part: part[0] == Method.HUMAN, np.bool_)[coded],
        keys.table(lambda part: int(part[6]), np.int32)[coded],
        keys.table(lambda part: KINDS.index(part[1]), np.int8)[coded],
        keys.table(lambda part: book.code(part[2], part[3]), np.int32)[coded],
        said.confidence,
        said.count,
        keys.table(lambda part: REASONS.index(part[4]), np.int8)[coded],
        keys.table(lambda part: part[7] not in ("", BoxSource.ATTENTION), np.bool_)[coded],
        keys.table(lambda part: reviewers.get(part[8], -1) if part[0] == Method.HUMAN else -1, np.int32)[coded],
    )
    if not len(media):
        return rows.take(np.zeros(len(rows), bool))
    known = media[np.minimum(place, len(media) - 1)] == said.media
    return rows if known.all() else rows.take(known)


def _machine(rows: _Rows, preferred: tuple[int | None, bool], model_place: Array) -> Records:
    """One record for each frame that a model answered, with its number in the newest detector's boxes: of people or
    vehicles where the answer is one, else of animals.
    """
    id_, only = preferred
    whole = ~rows.human & (rows.subject == 0)
    if only:
        whole &= rows.model == id_
    answers = rows.take(whole)
    newest = answers.model == (-1 if id_ is None else id_)
    order = np.lexsort((answers.id, newest, answers.frame))
    answers = answers.take(order)
    answers = answers.take(_last_of_each(answers.frame))
    boxes = rows.take(~rows.human & (rows.subject > 0))
    count = answers.count.copy()
    if len(boxes):
        boxes = boxes.take(np.lexsort((boxes.model, boxes.frame)))
        newest_model = boxes.model[_last_of_each(boxes.frame)]
        frames, inverse = np.unique(boxes.frame, return_inverse=True)
        place = np.searchsorted(frames, answers.frame)
        has = (place < len(frames)) & (frames[np.minimum(place, len(frames) - 1)] == answers.frame)
        counted = np.full(len(frames), ANIMAL, np.int8)
        counted[place[has]] = np.where(np.isin(answers.kind[has], (HUMAN, VEHICLE)), answers.kind[has], ANIMAL)
        seen = (boxes.model == newest_model[inverse]) & (boxes.kind == counted[inverse])
        numbers = np.bincount(inverse[seen], minlength=len(frames))
        count[has] = numbers[place[has]]
    return Records(
        answers.frame,
        answers.id,
        answers.kind,
        np.where(answers.kind == ANIMAL, answers.taxon, -1).astype(np.int32),
        answers.confidence,
        count,
        answers.human,
        answers.reason,
        model_place[answers.model],
        *_no_events(len(answers)),
    )


def _human(rows: _Rows) -> Records:
    """The newest reviewer's word for each frame: one record for each taxon seen, its count out of boxes or numbers."""
    newest = rows.take(np.lexsort((rows.id, rows.frame)))
    last = _last_of_each(newest.frame)
    frames, inverse = np.unique(newest.frame, return_inverse=True)
    newest = newest.take(newest.reviewer == newest.reviewer[last][inverse]) if len(frames) else newest
    newest.taxon = np.where(newest.kind == ANIMAL, newest.taxon, -1).astype(np.int32)
    newest = newest.take(np.lexsort((newest.id, newest.taxon, newest.kind, newest.frame)))
    last = _last_of_each(newest.frame, newest.kind, newest.taxon)
    groups = np.cumsum(np.concatenate([[False], last[:-1]])) if len(last) else np.zeros(0, np.int64)
    numbers = np.zeros(int(last.sum()), np.int32)
    np.maximum.at(numbers, groups, newest.count)
    boxes = np.bincount(groups[newest.box], minlength=len(numbers)) if len(numbers) else numbers
    said = newest.take(last)
    return Records(
        said.frame,
        said.id,
        said.kind,
        said.taxon,
        np.full(len(said), np.nan, np.float32),
        np.maximum(numbers, boxes).astype(np.int32),
        said.human,
        np.zeros(len(said), np.int8),
        np.full(len(said), -1, np.int32),
        *_no_events(len(said)),
    )


def _no_events(size: int) -> tuple[Array, Array, Array]:
    """The columns `event_kind`, `event_taxon` and `event_confidence` of records whose events are not read yet."""
    return np.full(size, -1, np.int8), np.full(size, -1, np.int32), np.full(size, np.nan, np.float32)


def _pairs(human: Records, machine: Records) -> Pairs:
    """Person against model; of several taxa that a person saw, the one that the model named, else the first."""
    place = np.searchsorted(machine.frame, human.frame)
    both = (
        (place < len(machine)) & (machine.frame[np.minimum(place, len(machine) - 1)] == human.frame)
        if len(machine)
        else np.zeros(len(human), bool)
    )
    seen, answer = human.take(both), place[both]
    same = (seen.taxon == machine.taxon[answer]) & (seen.kind == machine.kind[answer])
    order = np.lexsort((same, seen.frame))
    order = order[_last_of_each(seen.frame[order])]
    answer = answer[order]
    return Pairs(
        seen.frame[order],
        seen.kind[order],
        seen.taxon[order],
        machine.kind[answer],
        machine.taxon[answer],
        machine.confidence[answer],
    )


def _people(rows: _Rows, human: Records, looked: Array) -> NDArray[np.int32]:
    """Frames where anyone, any model or any box saw a person or a vehicle; a person who looked has the last word."""
    suspect = np.isin(rows.kind, (HUMAN, VEHICLE)) & ~rows.human
    said = np.isin(human.kind, (HUMAN, VEHICLE))
    machine = rows.frame[suspect]
    return np.unique(np.concatenate([machine[~looked[machine]], human.frame[said]])).astype(np.int32)


def _last_of_each(*keys: Array) -> Array:
    """True at the last of each run of equal keys, bool[N]."""
    last = np.ones(len(keys[0]), bool)
    if len(last):
        last[:-1] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return last
