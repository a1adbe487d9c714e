"""Which observation of each frame counts, worked out in columns for a million frames."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.database.taxon_index import TaxonIndex
from edge.report.read.columns import KeyCodes, float32, int32, int64, joined, key_of, read_columns
from edge.report.read.survey import ANIMAL, HUMAN, KINDS, REASONS, VEHICLE, Pairs, Records
from edge.vocabulary import BoxSource

_KEY = key_of(
    *("kind", "rank", "taxon", "reason", "subject", "box_source", "model", "configuration", "revision"),
    "iif(configuration IS NULL, classified_by, NULL)",
)
_MACHINE_ROWS = f"""
SELECT id, media, {_KEY}, coalesce(confidence, -1), coalesce(count, 0) FROM observation WHERE method = 'machine'
"""
_HUMAN_LINES = """
SELECT media, min(id), kind, rank, taxon, common_name, coalesce(sum(number), 0), max(box_x IS NOT NULL)
FROM effective_observation WHERE method = 'human' GROUP BY media, kind, rank, taxon ORDER BY media, min(id)
"""
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Preferred:
    """Whose decisions count before others'."""

    model: int | None
    """Id in the database."""
    configuration: int | None = None
    only: bool = False
    """Whether no other model's decisions may stand in, whatever their configuration."""


@dataclass(frozen=True, slots=True)
class EffectiveLabels:
    """The labels that count in one database; `frame` is the place of the frame in the order read."""

    records: Records
    pairs: Pairs
    people: NDArray[np.int32]
    boxed: bool
    """Whether a detector or a person drew any bounding box."""
    stand_ins: int = 0
    """Frames that the pinned model and configuration did not answer: they show the newest other answer."""

    @classmethod
    def none(cls) -> "EffectiveLabels":
        return cls.stacked([])

    def moved(self, by: int) -> "EffectiveLabels":
        """The same when the frames stand `by` places further on."""
        return EffectiveLabels(
            _moved(self.records, by), _moved(self.pairs, by), self.people + np.int32(by), self.boxed, self.stand_ins
        )

    @classmethod
    def stacked(cls, parts: Sequence["EffectiveLabels"]) -> "EffectiveLabels":
        return cls(
            _stacked(Records, [part.records for part in parts]),
            _stacked(Pairs, [part.pairs for part in parts]),
            joined([part.people for part in parts], np.int32),
            any(part.boxed for part in parts),
            sum(part.stand_ins for part in parts),
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
    """The observation table as it was read: machine rows in columns, what repeats numbered in `keys`; human lines."""

    id: Array
    media: Array
    coded: Array
    confidence: Array
    count: Array
    keys: KeyCodes
    human_lines: list[tuple[Any, ...]]


def read_observations(connection: sqlite3.Connection) -> Observations:
    """Read the whole table."""
    keys = KeyCodes()
    columns = read_columns(connection, _MACHINE_ROWS, (int64, int64, keys, float32, int32))
    id_, media, coded, confidence, count = columns
    human_lines = connection.execute(_HUMAN_LINES).fetchall()
    return Observations(id_, media, coded, confidence, count, keys, human_lines)


@dataclass(slots=True)
class _Rows:
    """Machine rows in columns, each with the place of its frame."""

    id: Array
    frame: Array
    model: Array
    answer: Array
    """Number of the model, configuration and revision, or of the import, that the row belongs to."""
    pinned: Array
    revision: Array
    own: Array
    """Whether it is no import."""
    subject: Array
    kind: Array
    taxon: Array
    confidence: Array
    count: Array
    reason: Array
    box: Array

    def take(self, mask: Array) -> "_Rows":
        return _Rows(*(getattr(self, name)[mask] for name in self.__slots__))

    def __len__(self) -> int:
        return len(self.id)


def choose(
    observations: Observations,
    media: NDArray[np.int64],
    models: dict[int, int],
    preferred: Preferred,
    taxon_index: TaxonIndex,
) -> EffectiveLabels:
    """Keep the observations that count, by the rule of `edge.database.effective_observation`.

    `media` are the frames' ids, ascending; `models` gives each model id its place in the survey.
    """
    rows = _rows(observations, media, preferred, taxon_index)
    model_place = np.full(max(models, default=0) + 2, -1, np.int32)
    for id_, place in models.items():
        model_place[id_] = place
    machine, pinned = _machine(rows, preferred, model_place)
    human, drawn = _human(observations.human_lines, media, taxon_index)
    reviewed = np.zeros(len(media), bool)
    reviewed[human.frame] = True
    counted = Records(
        *(
            np.concatenate([getattr(human, name), getattr(machine, name)[~reviewed[machine.frame]]])
            for name in Records.__slots__
        )
    )
    return EffectiveLabels(
        counted,
        _pairs(human, machine),
        _people(rows, human, reviewed),
        drawn or bool(rows.box.any()),
        0 if preferred.model is None or preferred.only else int((~pinned & ~reviewed[machine.frame]).sum()),
    )


def _rows(observations: Observations, media: NDArray[np.int64], preferred: Preferred, taxon_index: TaxonIndex) -> _Rows:
    keys, coded = observations.keys, observations.coded
    answers: dict[tuple[str, ...], int] = {}
    pinned = (str(preferred.model or ""), str(preferred.configuration or ""))
    place = np.searchsorted(media, observations.media)
    rows = _Rows(
        observations.id,
        place.astype(np.int32),
        keys.table(lambda part: int(part[6] or -1), np.int32)[coded],
        keys.table(lambda part: answers.setdefault(tuple(part[6:]), len(answers)), np.int32)[coded],
        keys.table(lambda part: (part[6], part[7]) == pinned, np.bool_)[coded],
        keys.table(lambda part: int(part[8]), np.int32)[coded],
        keys.table(lambda part: part[7] != "", np.bool_)[coded],
        keys.table(lambda part: int(part[4]), np.int32)[coded],
        keys.table(lambda part: KINDS.index(part[0]), np.int8)[coded],
        keys.table(lambda part: taxon_index.code(part[1], part[2]), np.int32)[coded],
        observations.confidence,
        observations.count,
        keys.table(lambda part: REASONS.index(part[3]), np.int8)[coded],
        keys.table(lambda part: part[5] not in ("", BoxSource.ATTENTION, BoxSource.MOTION), np.bool_)[coded],
    )
    if not len(media):
        return rows.take(np.zeros(len(rows), bool))
    known = media[np.minimum(place, len(media) - 1)] == observations.media
    return rows if known.all() else rows.take(known)


def _machine(rows: _Rows, preferred: Preferred, model_place: Array) -> tuple[Records, Array]:
    """One record for each frame that a model classified, with the number of its bounding boxes: of people or vehicles
    where the decision is one, else of animals. Also gives bool[N]: whether the pinned model and configuration decided.
    """
    whole = rows.subject == 0
    if preferred.only:
        whole &= rows.model == (-1 if preferred.model is None else preferred.model)
    decisions = rows.take(whole)
    decisions = decisions.take(np.lexsort((decisions.id, decisions.own, decisions.pinned, decisions.frame)))
    decisions = decisions.take(_last_of_each(decisions.frame))
    records = Records(
        decisions.frame,
        decisions.id,
        decisions.kind,
        np.where(decisions.kind == ANIMAL, decisions.taxon, -1).astype(np.int32),
        decisions.confidence,
        _numbers(decisions, rows.take((rows.subject > 0) & ~_superseded(rows))),
        np.zeros(len(decisions), bool),
        decisions.reason,
        model_place[decisions.model],
        *_no_events(len(decisions)),
    )
    return records, decisions.pinned


def _superseded(rows: _Rows) -> Array:
    """Rows of imports that have a higher revision of the same model on their frame, bool[N]."""
    superseded = np.zeros(len(rows), bool)
    imports = np.flatnonzero(~rows.own)
    revision = rows.revision[imports]
    if (revision > 0).any():
        answer = rows.frame[imports].astype(np.int64) * (int(rows.model.max()) + 2) + rows.model[imports] + 1
        _, source = np.unique(answer, return_inverse=True)
        highest = np.zeros(int(source.max()) + 1, np.int32)
        np.maximum.at(highest, source, revision)
        superseded[imports] = revision < highest[source]
    return superseded


def _numbers(decisions: _Rows, boxes: _Rows) -> NDArray[np.int32]:
    """int32[N]: bounding boxes of each decision's kind, its own or else those of the newest import; else its count."""
    counts = decisions.count.astype(np.int32)
    if not len(boxes):
        return counts
    place = np.searchsorted(decisions.frame, boxes.frame)
    place = np.minimum(place, max(len(decisions) - 1, 0))
    if len(decisions):
        boxes, place = boxes.take(keep := decisions.frame[place] == boxes.frame), place[keep]
    wanted = np.where(np.isin(decisions.kind, (HUMAN, VEHICLE)), decisions.kind, ANIMAL)
    of_kind = boxes.kind == wanted[place]
    imports = ~boxes.own
    newest = np.full(len(decisions), -1, np.int64)  # answer of the newest import of each frame
    order = np.lexsort((boxes.id, place))
    order = order[imports[order]]
    newest[place[order]] = boxes.answer[order]
    size = len(decisions)
    own = np.bincount(place[of_kind & (boxes.answer == decisions.answer[place])], minlength=size)
    borrowed = np.bincount(place[of_kind & imports & (boxes.answer == newest[place])], minlength=size)
    return np.where(own > 0, own, np.where(borrowed > 0, borrowed, counts)).astype(np.int32)


def _human(lines: list[tuple[Any, ...]], media: NDArray[np.int64], taxon_index: TaxonIndex) -> tuple[Records, bool]:
    """One record for each taxon that people saw in a frame, and whether they drew any bounding box."""
    taxon_index.learn_common_names((rank, taxon, common) for _, _, _, rank, taxon, common, _, _ in lines)
    known = np.isin(np.array([line[0] for line in lines], np.int64), media)
    lines = [line for line, is_known in zip(lines, known.tolist(), strict=True) if is_known]
    kinds = np.array([KINDS.index(line[2]) for line in lines], np.int8)
    taxa = np.array([taxon_index.code(line[3], line[4]) for line in lines], np.int32)
    size = len(lines)
    records = Records(
        np.searchsorted(media, np.array([line[0] for line in lines], np.int64)).astype(np.int32),
        np.array([line[1] for line in lines], np.int64),
        kinds,
        np.where(kinds == ANIMAL, taxa, -1).astype(np.int32),
        np.full(size, np.nan, np.float32),
        np.array([line[6] for line in lines], np.int32),
        np.ones(size, bool),
        np.zeros(size, np.int8),
        np.full(size, -1, np.int32),
        *_no_events(size),
    )
    return records, any(line[7] for line in lines)


def _no_events(size: int) -> tuple[Array, Array, Array]:
    """The columns `event_kind`, `event_taxon` and `event_confidence` of records whose events are not read yet."""
    return np.full(size, -1, np.int8), np.full(size, -1, np.int32), np.full(size, np.nan, np.float32)


def _pairs(human: Records, machine: Records) -> Pairs:
    """Labels of people and models for the same frames; of several taxa of a person the one that the model named."""
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


def _people(rows: _Rows, human: Records, reviewed: Array) -> NDArray[np.int32]:
    """Frames where any model or any bounding box shows a person or a vehicle, unless the person who reviewed them
    disagrees, and frames where that person saw one.
    """
    suspect = rows.frame[np.isin(rows.kind, (HUMAN, VEHICLE))]
    seen = human.frame[np.isin(human.kind, (HUMAN, VEHICLE))]
    return np.unique(np.concatenate([suspect[~reviewed[suspect]], seen])).astype(np.int32)


def _last_of_each(*keys: Array) -> Array:
    """True at the last of each run of equal keys, bool[N]."""
    last = np.ones(len(keys[0]), bool)
    if len(last):
        last[:-1] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return last
