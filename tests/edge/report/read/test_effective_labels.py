"""The rule of which observation counts is executed by SQL and in columns: both must choose the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.database.taxon_index import TaxonIndex
from edge.report.read.load import load
from edge.report.read.survey import KINDS
from tests.support.database_by_hand import ByHand

WHAT = ("lion", "leopard", "impala", "plains zebra", "cat family", "human", "blank", "unknown", "vehicle")
SEEDS = range(25)


def generated(path: Path, seed: int) -> ByHand:
    """Frames with answers of two models under two configurations, revisions, boxes, imports, acts and undos."""
    rng = np.random.default_rng(seed)
    database = ByHand(path)
    database.new_model(2)
    connection = database.connection
    connection.execute("INSERT INTO configuration VALUES (2, 'two', '{\"second_look\":false}')")
    for model in (9, 10):
        connection.execute("INSERT INTO model VALUES (?, ?, 'detector', ?, '{}')", (model, f"import:{model}", model))
    for model, configuration in rng.integers(1, 3, (int(rng.integers(0, 3)), 2)).tolist():
        connection.execute(
            "INSERT INTO pin (model, configuration, at, \"by\") VALUES (?, ?, '', 'Ana')", (model, configuration)
        )
    pairs = [(1, 1), (1, 2), (2, 1), (2, 2)]
    for number in range(40):
        frame = database.frame(number * 700, str(rng.choice(WHAT)), model=int(rng.integers(1, 3)))
        for model, configuration in (pairs[i] for i in rng.permutation(4)[: int(rng.integers(0, 4))]):
            for revision in range(1, 1 + int(rng.integers(1, 3))):
                answer(database, rng, frame, model, configuration, revision)
        for model in (9, 10):
            for revision in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
                imported(database, rng, frame, model, revision)
        people(database, rng, frame)
    return database


def answer(
    database: ByHand, rng: np.random.Generator, frame: int, model: int, configuration: int, revision: int
) -> None:
    """A whole answer of a model: its decision, and now and then bounding boxes."""
    more = {"model": model, "configuration": configuration, "revision": revision}
    database.answer(frame, str(rng.choice(WHAT)), count=int(rng.integers(1, 5)), **more)
    for subject in range(1, 1 + int(rng.integers(0, 4))):
        database.answer(frame, str(rng.choice(WHAT)), subject=subject, box=(0.1, 0.1, 0.2, 0.2), **more)


def imported(database: ByHand, rng: np.random.Generator, frame: int, model: int, revision: int) -> None:
    """Bounding boxes of an import, or the row that says that there are none any more; now and then a decision."""
    more: dict[str, Any] = {"model": model, "configuration": None, "revision": revision}
    more |= {"classified_by": f"detector {model}"}
    boxes = int(rng.integers(0, 4))
    if not boxes or rng.random() < 0.3:
        database.answer(frame, str(rng.choice(WHAT)), **more)
    for subject in range(1, 1 + boxes):
        what, box = str(rng.choice(WHAT)), (0.1, 0.1, 0.2, 0.2)
        database.answer(frame, what, subject=subject, box=box, **(more | {"box_source": "imported"}))


def people(database: ByHand, rng: np.random.Generator, frame: int) -> None:
    """Acts of several lines by two people, some of them withdrawn and brought back."""
    for act in range(int(rng.integers(0, 4))):
        name = f"{rng.choice(['Ana', 'Ben'])} {act}"
        for _ in range(int(rng.integers(1, 4))):
            box = (0.1, 0.1, 0.2, 0.2) if rng.random() < 0.3 else None
            count = int(rng.integers(1, 6)) if rng.random() < 0.5 else None
            database.answer(frame, str(rng.choice(WHAT)), by=name, count=count, box=box)
    for _ in range(int(rng.integers(0, 3))):
        row = database.connection.execute(
            "SELECT id FROM observation WHERE media = ? AND method = 'human' ORDER BY random() LIMIT 1", (frame,)
        ).fetchone()
        if row is not None:
            database.answer(frame, "blank", by=f"undo {rng.integers(10**9)}", withdraws=row[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_sql_and_columns_choose_the_same(tmp_path: Path, seed: int) -> None:
    database = generated(tmp_path / "d.db", seed)
    by_sql = {
        (media, kind, name if kind == "animal" else None): (number or 0, method)
        for media, kind, name, number, method in database.connection.execute(
            "SELECT media, kind, common_name, sum(number), method FROM effective_observation"
            " GROUP BY media, kind, taxon, rank"
        )
    }
    survey = load([database.path])
    records = survey.records
    by_columns = {
        (int(survey.frames.media[frame]), KINDS[kind], survey.taxa[taxon].common_name if taxon >= 0 else None): (
            int(count),
            "human" if human else "machine",
        )
        for frame, kind, taxon, count, human in zip(
            records.frame, records.kind, records.taxon, records.count, records.human, strict=True
        )
    }
    assert by_columns == by_sql
    first = dict(database.connection.execute("SELECT media, observation FROM detections"))
    assert set(first) == {media for media, _, _ in by_sql}


def test_the_generated_databases_hold_every_case(tmp_path: Path) -> None:
    """Without these, equality would prove little."""
    found = set()
    for seed in SEEDS:
        connection = generated(tmp_path / f"{seed}.db", seed).connection
        found |= set(connection.execute("SELECT method, configuration, revision > 1 FROM effective_observation"))
    assert found >= {("human", None, 0), ("machine", 1, 1), ("machine", 2, 1), ("machine", 1, 0)}
    assert TaxonIndex().taxa == []
