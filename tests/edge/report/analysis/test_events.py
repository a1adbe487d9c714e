"""The events of a report are those of the table `event`: two executions of one rule, held equal."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge.database.events.table import rebuild_events
from edge.report.analysis.study import Study
from edge.report.read.load import load
from edge.report.read.local_time import local_text
from edge.report.read.survey import KINDS
from edge.vocabulary import Kind
from tests.support.database_by_hand import ByHand
from tests.support.made_survey import add_reviews, make

Row = tuple[str | None, str, str | None, str, str, int, int | None, bool]
"""Deployment, kind, taxon, start, end, frames, count, whether a person named it."""


def stored(path: Path) -> list[Row]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            'SELECT deployment, kind, taxon, substr(start, 1, 19), substr("end", 1, 19), media_count, count, '
            "method = 'human' FROM event"
        ).fetchall()
    return sorted(((*row[:7], bool(row[7])) for row in rows), key=str)


def reported(path: Path) -> list[Row]:
    study = Study(load([path]))
    events, survey = study.events, study.survey
    return sorted(
        (
            (
                survey.deployments[deployment].name,
                KINDS[kind],
                survey.taxa[taxon].scientific_name if kind == KINDS.index(Kind.ANIMAL) else None,
                start,
                end,
                frames,
                count or None,
                human,
            )
            for deployment, kind, taxon, start, end, frames, count, human in zip(
                events.deployment.tolist(),
                events.kind.tolist(),
                events.taxon.tolist(),
                local_text(events.start),
                local_text(events.end),
                events.frames.tolist(),
                events.count.tolist(),
                events.human.tolist(),
                strict=True,
            )
        ),
        key=str,
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_events_of_the_report_are_those_of_the_database(tmp_path: Path, seed: int, share: float) -> None:
    path = tmp_path / "made.db"
    make(path, seed=seed, frames=700, deployments=2, days=6, events=False)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        add_reviews(connection, np.random.default_rng(seed), share)
        rebuild_events(connection)
    expected = stored(path)
    assert len(expected) > 50
    assert reported(path) == expected
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DELETE FROM event_media; DELETE FROM event")
    assert reported(path) == expected  # computed by the report


def by_hand(tmp_path: Path) -> ByHand:
    database = ByHand(tmp_path / "d.db")
    database.deployment("ford", time_zone="UTC")
    return database


def test_a_coarse_answer_follows_the_coarse_answer_that_it_is_nearest_to(tmp_path: Path) -> None:
    database = by_hand(tmp_path)
    for minute, name in ((0, "lion"), (10, "cat family"), (20, "mammal")):
        database.frame(minute * 60, name, camera="ford")
    rebuild_events(database.connection)
    expected = [("ford", "animal", "Panthera leo", "2026-05-01T06:00:00", "2026-05-01T06:20:00", 3, None, False)]
    assert stored(database.path) == reported(database.path) == expected


def test_only_the_newest_reviewer_counts_with_the_boxes_drawn(tmp_path: Path) -> None:
    database = by_hand(tmp_path)
    frame = database.frame(0, "lion", camera="ford")
    database.answer(frame, "impala", by="Ana")
    database.answer(frame, "plains zebra", by="Ana", subject=1)
    for subject in range(3):
        database.answer(frame, "leopard", by="Ben", subject=subject, box=(0.1, 0.1, 0.2, 0.2))
    database.answer(frame, "human", by="Ben", subject=3)
    rebuild_events(database.connection)
    at = "2026-05-01T06:00:00"
    expected = [
        ("ford", "animal", "Panthera pardus", at, at, 1, 3, True),
        ("ford", "human", None, at, at, 1, None, True),
    ]
    assert stored(database.path) == reported(database.path) == expected
