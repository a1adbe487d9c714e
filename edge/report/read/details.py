"""Text columns of frames and observations, read from the databases for some thousands of them at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.database.effective_observation import decision_of, newest_import
from edge.report.read.connection import connect
from edge.report.read.read_database import readable_path
from edge.report.read.survey import Survey

# What people drew in the act that counts; of machines the boxes of the decision that counts, else of the newest import.
_BOXES = f"""
SELECT o.media, 1, o.kind, o.subject, o.box_x, o.box_y, o.box_width, o.box_height, o.confidence, o.id
FROM effective_observation o
WHERE o.media IN (SELECT value FROM json_each(?1)) AND o.method = 'human' AND o.box_x IS NOT NULL
UNION ALL
SELECT o.media, 0, o.kind, o.subject, o.box_x, o.box_y, o.box_width, o.box_height, o.confidence, o.id
FROM observation o
WHERE o.media IN (SELECT value FROM json_each(?1)) AND o.method = 'machine' AND o.subject > 0 AND o.box_x IS NOT NULL
AND iif(EXISTS (SELECT 1 FROM observation b WHERE b.media = o.media AND b.method = 'machine' AND b.subject > 0
            AND (b.model, b.configuration, b.revision) IS {decision_of("o.media")}),
    (o.model, o.configuration, o.revision) IS {decision_of("o.media")},
    o.configuration IS NULL AND (o.model, o.revision, o.classified_by) IS {newest_import("o.media")})
ORDER BY 1, 4, 10
"""
# The lines of the acts that count, each with the first line of its taxon: that is the record of the survey.
_LINES = """
SELECT min(o.id) OVER (PARTITION BY o.media, o.kind, o.rank, o.taxon), o.id, o.number, o.life_stage, o.sex,
    o.behaviour, o.individual_id, o.note, o.box_x, o.box_y, o.box_width, o.box_height
FROM effective_observation o
WHERE o.media IN (SELECT value FROM json_each(?)) AND o.method = 'human' ORDER BY o.media, o.line, o.id
"""


# As bytes, since text of any kind sorts before what is no UTF-8.
_FIRST_AND_LAST_PATH = """
SELECT min(CAST(path AS BLOB)), max(CAST(path AS BLOB)) FROM media NOT INDEXED
WHERE status = 'classified' OR (? AND status = 'unreadable')
"""
# A camera that counts from the start again writes over its files: the row of the former content keeps the path.
_OVERWRITTEN = """
SELECT m.id FROM media m JOIN file f ON f.path = m.path
WHERE f.media <> m.id AND m.status IN ('classified', 'unreadable')
"""
_CANDIDATES = (
    "SELECT observation, taxon, probability FROM candidate WHERE observation {which} ORDER BY observation, place"
)


@dataclass(frozen=True, slots=True)
class HumanLine:
    """One line of what a person said of a frame."""

    id: int
    count: int | None
    life_stage: str | None
    sex: str | None
    behaviour: str | None
    individual_id: str | None
    note: str | None
    box: tuple[float, ...] | None


class Details:
    """Text columns of frames and observations, fetched for a chunk at a time from the databases they are in."""

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self._open: list[Any] = []

    def __enter__(self) -> "Details":
        self._contexts = [connect(path) for path in self.survey.paths]
        self._open = [context.__enter__() for context in self._contexts]
        return self

    def __exit__(self, *error: object) -> None:
        for context in self._contexts:
            context.__exit__(None, None, None)

    def media(self, frames: NDArray[np.int32]) -> list[tuple[str, str]]:
        """(path, digest) of each frame."""
        return [
            (path if isinstance(path, str) else readable_path(path), digest)
            for path, digest, _ in self.fetch("media", "path, digest", frames)
        ]

    def common_folder(self, failures_too: bool) -> str:
        """The folder that all classified frames of all databases lie below, with `failures_too` the unreadable files
        as well; empty when there is none.
        """
        edges = [
            readable_path(path)
            for connection in self._open
            for path in connection.execute(_FIRST_AND_LAST_PATH, (failures_too,)).fetchone()
            if path is not None
        ]
        # What the first and the last in the order of the alphabet share, all between them share too.
        folders = [path.rpartition("/")[0] for path in edges]
        return os.path.commonpath(folders) if folders and all(f.startswith("/") for f in folders) else ""

    def overwritten(self) -> NDArray[np.bool_]:
        """bool[frames]: files whose path holds other content now, which another frame stands for."""
        frames = self.survey.frames
        gone = np.zeros(len(frames), bool)
        for number, connection in enumerate(self._open):
            media = [media for (media,) in connection.execute(_OVERWRITTEN)]
            gone |= (frames.database == number) & np.isin(frames.media, media)
        return gone

    def classified_by(self, part: slice | NDArray[np.int64]) -> list[str]:
        """The model or the person behind each of some records."""
        records = self.survey.records
        model = records.model[part]
        names: list[str] = picked([*(model.title for model in self.survey.models), ""], model)
        unnamed = np.flatnonzero(model < 0)
        if len(unnamed):
            frames = records.frame[part][unnamed]
            named = self.fetch("observation", "classified_by", frames, records.observation[part][unnamed])
            for place, (name, _) in zip(unnamed.tolist(), named, strict=True):
                names[place] = name
        return names

    def candidates(self, part: NDArray[np.int64]) -> Iterator[tuple[int, str, float]]:
        """(place of the record, taxon, probability) of the top predictions of some records."""
        records = self.survey.records
        databases = self.survey.frames.database[records.frame[part]]
        for database in np.unique(databases).tolist():
            mine = part[databases == database]
            places = dict(zip(records.observation[mine].tolist(), mine.tolist(), strict=True))
            which, given = _among(sorted(places))
            for id_, taxon, probability in self._open[database].execute(_CANDIDATES.format(which=which), given):
                if id_ in places:
                    yield places[id_], taxon, probability

    def candidate_names(self) -> list[str]:
        """The names of all candidates."""
        return [name for db in self._open for (name,) in db.execute("SELECT DISTINCT taxon FROM candidate")]

    def boxes(self, frames: NDArray[np.int32]) -> list[list[tuple[Any, ...]]]:
        """(human, kind, subject, x, y, width, height, confidence) of each frame's bounding boxes, without the crops
        that drew the model's attention.
        """
        found: list[list[tuple[Any, ...]]] = [[] for _ in frames]
        if not self.survey.boxed:
            return found
        media, databases = self.survey.frames.media[frames], self.survey.frames.database[frames]
        for database in np.unique(databases).tolist():
            places: dict[int, list[int]] = {}
            for place in np.flatnonzero(databases == database).tolist():
                places.setdefault(int(media[place]), []).append(place)
            for id_, *box, _ in self._open[database].execute(_BOXES, (str(sorted(places)),)):
                for place in places[id_]:
                    found[place].append(tuple(box))
        return found

    def human_lines(self, part: NDArray[np.int64]) -> dict[int, list[HumanLine]]:
        """The lines of what people said, by the place of the record; records of models are left out."""
        records, frames = self.survey.records, self.survey.frames
        part = part[records.human[part]]
        found: dict[int, list[HumanLine]] = {}
        databases = frames.database[records.frame[part]]
        for database in np.unique(databases).tolist():
            mine = part[databases == database]
            places = dict(zip(records.observation[mine].tolist(), mine.tolist(), strict=True))
            media = np.unique(frames.media[records.frame[mine]]).tolist()
            for first, *values, x, y, width, height in self._open[database].execute(_LINES, (str(media),)):
                if first in places:
                    drawn = None if x is None else (x, y, width, height)
                    found.setdefault(places[first], []).append(HumanLine(*[*values, drawn]))
        return found

    def fetch(
        self, table: str, columns: str, frames: NDArray[np.int32], ids: NDArray[np.int64] | None = None
    ) -> list[tuple[Any, ...]]:
        """`columns` of a table and the id, by id, in the order of `frames`; `ids` default to the frames' media."""
        wanted = self.survey.frames.media[frames] if ids is None else ids
        databases = self.survey.frames.database[frames]
        found: list[tuple[Any, ...]] = [()] * len(wanted)
        for database in np.unique(databases).tolist():
            places = np.flatnonzero(databases == database)
            connection = self._open[database]
            which, given = _among(np.unique(wanted[places]).tolist())
            query = f"SELECT {columns}, id FROM {table} WHERE id {which} ORDER BY id"
            rows = connection.execute(query, given).fetchall()
            if rows[-1][-1] - rows[0][-1] == len(rows) - 1:
                at = wanted[places] - rows[0][-1]
            else:
                at = np.searchsorted(np.array([row[-1] for row in rows], np.int64), wanted[places])
            if len(places) == len(found):  # of one database
                return [rows[row] for row in at.tolist()]
            for place, row in zip(places.tolist(), at.tolist(), strict=True):
                found[place] = rows[row]
        return found


def _among(ids: list[int]) -> tuple[str, tuple[int | str, ...]]:
    """SQL that holds for ascending `ids`, and its parameters; it may hold for others between them.

    A dense run of ids is read as a range, which is many times quicker than one by one.
    """
    if len(ids) * 4 > ids[-1] - ids[0]:
        return "BETWEEN ? AND ?", (ids[0], ids[-1])
    return "IN (SELECT value FROM json_each(?))", (str(ids),)


def picked(values: list[Any], codes: NDArray[Any]) -> list[Any]:
    """`values[code]` for each code; -1 picks the last."""
    table = np.empty(len(values), object)
    table[:] = values
    picked: list[Any] = table[codes].tolist()
    return picked
