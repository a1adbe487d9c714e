"""The survey as a long table: one line for each frame and taxon, in chunks, for tables and exports."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.report.database import connect
from edge.report.load import readable_path
from edge.report.local_time import NO_TIME, local_text
from edge.report.study import Study
from edge.report.survey import DOUBTS, KINDS, REASONS, Survey

CHUNK = 50_000
COLUMNS = (
    "deployment", "captured_at", "captured_at_utc", "kind", "scientific_name", "rank", "common_name", "count",
    "confidence", "reason", "method", "classified_by", "event", "class", "order", "family", "genus", "species",
    "latitude", "longitude", "clock_doubt", "infrared", "path", "digest",
)  # fmt: skip


def rows(study: Study) -> Iterator[list[tuple[Any, ...]]]:
    """Lists of rows in the order of `COLUMNS`, by deployment and time; what is not known is `None`."""
    survey, visits = study.survey, study.visits
    records, frames = survey.records, survey.frames
    offset = np.where(frames.at == NO_TIME, 0, frames.local - frames.at)
    lineages = [(t.class_, t.order, t.family, t.genus, t.species) for t in survey.taxa]
    names = [(t.scientific_name, t.rank or None, t.common_name or None) for t in survey.taxa]
    doubts = {code: ",".join(word for i, word in enumerate(DOUBTS) if code >> i & 1) or None for code in range(64)}
    places = [(d.name, d.latitude, d.longitude) for d in survey.deployments]
    with Details(survey) as details:
        for start in range(0, len(records), CHUNK):
            part = slice(start, start + CHUNK)
            frame = records.frame[part]
            local = local_text(frames.local[frame], offset[frame])
            utc = [f"{text}Z" if text else None for text in local_text(frames.at[frame])]
            paths = details.media(frame)
            who = details.classified_by(part)
            block = []
            for i, (kind, taxon, count, confidence, reason, human, event, deployment, doubt, red) in enumerate(
                zip(
                    records.kind[part].tolist(),
                    records.taxon[part].tolist(),
                    records.count[part].tolist(),
                    records.confidence[part].tolist(),
                    records.reason[part].tolist(),
                    records.human[part].tolist(),
                    visits.of_record[part].tolist(),
                    frames.deployment[frame].tolist(),
                    frames.doubt[frame].tolist(),
                    frames.infrared[frame].tolist(),
                    strict=True,
                )
            ):
                name, latitude, longitude = places[deployment]
                path, digest = paths[i]
                block.append(
                    (
                        name,
                        local[i] or None,
                        utc[i],
                        KINDS[kind],
                        *(names[taxon] if taxon >= 0 else _NO_NAME),
                        count or None,
                        None if confidence != confidence else round(confidence, 4),
                        REASONS[reason] or None,
                        "human" if human else "machine",
                        who[i],
                        event + 1 if event >= 0 else None,
                        *(lineages[taxon] if taxon >= 0 else _NO_LINEAGE),
                        latitude,
                        longitude,
                        doubts[doubt],
                        None if red < 0 else red,
                        path,
                        digest,
                    )
                )
            yield block


_NO_NAME = (None, None, None)
_NO_LINEAGE = (None,) * 5


class Details:
    """Text columns of frames and observations, fetched for a chunk at a time from the databases they are in."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._open: list[Any] = []

    def __enter__(self) -> "Details":
        self._contexts = [connect(path) for path in self._survey.paths]
        self._open = [context.__enter__() for context in self._contexts]
        return self

    def __exit__(self, *error: object) -> None:
        for context in self._contexts:
            context.__exit__(None, None, None)

    def media(self, frames: NDArray[np.int32]) -> list[tuple[str, str]]:
        """(path, digest) of each frame."""
        return [(readable_path(path), digest) for path, digest in self.fetch("media", "path, digest", frames)]

    def classified_by(self, part: slice) -> list[str]:
        """Who answered, for a run of records."""
        records = self._survey.records
        titles = [model.title for model in self._survey.models]
        model = records.model[part]
        answers: list[str] = [titles[place] if place >= 0 else "" for place in model.tolist()]
        unnamed = np.flatnonzero(model < 0)
        if len(unnamed):
            frames = records.frame[part][unnamed]
            said = self.fetch("observation", "classified_by", frames, records.observation[part][unnamed])
            for place, (name,) in zip(unnamed.tolist(), said, strict=True):
                answers[place] = name
        return answers

    def fetch(
        self, table: str, columns: str, frames: NDArray[np.int32], ids: NDArray[np.int64] | None = None
    ) -> list[tuple[Any, ...]]:
        """`columns` of a table by id, in the order of `frames`; `ids` default to the frames' media."""
        wanted = self._survey.frames.media[frames] if ids is None else ids
        databases = self._survey.frames.database[frames]
        found: list[tuple[Any, ...]] = [()] * len(wanted)
        for database in np.unique(databases).tolist():
            places = np.flatnonzero(databases == database)
            connection = self._open[database]
            held: dict[int, tuple[Any, ...]] = {}
            unique = np.unique(wanted[places])
            # A dense run of ids is read as a range, which is many times quicker than one by one.
            if len(unique) * 4 > unique[-1] - unique[0]:
                query = f"SELECT id, {columns} FROM {table} WHERE id BETWEEN ? AND ?"
                held = {row[0]: row[1:] for row in connection.execute(query, (int(unique[0]), int(unique[-1])))}
            else:
                query = f"SELECT id, {columns} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
                held = {row[0]: row[1:] for row in connection.execute(query, (str(unique.tolist()),))}
            for place, id_ in zip(places.tolist(), wanted[places].tolist(), strict=True):
                found[place] = held[id_]
        return found
