"""What counts for a frame, and how databases become one survey."""

from pathlib import Path

import pytest

from edge.database.events.grouping import Rules
from edge.report.analysis.study import Study
from edge.report.errors import ReportError
from edge.report.read.filters import Selection, moment
from edge.report.read.load import load
from edge.report.read.survey import KINDS, Survey
from edge.settings import deployment_table
from tests.support.database_by_hand import ByHand
from tests.support.made_survey import make


def said(survey: Survey) -> list[tuple[int, str, int]]:
    """(media, taxon or kind, count) of each record."""
    records = survey.records
    return [
        (
            int(survey.frames.media[frame]),
            survey.taxa[taxon].common_name if taxon >= 0 else KINDS[kind],
            count,
        )
        for frame, taxon, kind, count in zip(
            records.frame.tolist(), records.taxon.tolist(), records.kind.tolist(), records.count.tolist(), strict=True
        )
    ]


def test_people_then_the_pinned_model_then_the_newest_other(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    one, two, three = (database.frame(i * 100, "lion") for i in range(3))
    database.new_model(2)
    database.answer(one, "leopard")
    database.answer(two, "leopard")
    database.answer(two, "impala", by="Ana")
    database.answer(two, "plains zebra", by="Ben", count=3)
    database.answer(two, "bushbuck", by="Ben", subject=1)
    people = [(two, "bushbuck", 0), (two, "plains zebra", 3)]
    assert sorted(said(load([database.path]))) == [(one, "lion", 0), *people, (three, "lion", 0)]
    other = load([database.path], Selection(model="made-savanna 2.0"))
    assert sorted(said(other)) == [(one, "leopard", 0), *people]
    database.connection.execute("INSERT INTO pin (model, configuration, at, \"by\") VALUES (2, 1, '', 'Ana')")
    assert sorted(said(load([database.path]))) == [(one, "leopard", 0), *people, (three, "lion", 0)]


def test_animals_are_counted_in_the_pinned_models_own_boxes(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    frame = database.frame(0, "impala", count=1)
    database.new_model(2)
    for model, boxes in ((1, 5), (2, 2)):
        for i in range(boxes):
            database.answer(frame, "impala", subject=i + 1, model=model, box=(0.1, 0.1, 0.2, 0.2))
    database.answer(frame, "human", subject=9, model=2, box=(0.5, 0.5, 0.2, 0.2))
    survey = load([database.path])
    assert said(survey) == [(1, "impala", 5)]
    assert survey.people.tolist() == [0]


def test_the_same_content_in_two_databases_counts_once_and_people_win(tmp_path: Path) -> None:
    first, second = ByHand(tmp_path / "a.db"), ByHand(tmp_path / "b.db")
    for database in (first, second):
        database.frame(0, "lion", content="same", camera=None)
    second.answer(1, "leopard", by="Ana")
    first.frame(50, "impala")
    survey = load([first.path, second.path])
    assert sorted(name for _, name, _ in said(survey)) == ["impala", "leopard"]
    assert survey.duplicates == 1
    assert [d.name for d in survey.deployments] == ["a", "b"]


def test_one_survey_over_many_devices_is_the_sum(tmp_path: Path) -> None:
    for number in range(3):
        make(tmp_path / f"{number}.db", seed=number, frames=300, deployments=1, days=10, first_camera=number)
    parts = [Study(load([tmp_path / f"{n}.db"])) for n in range(3)]
    whole = Study(load([tmp_path / f"{n}.db" for n in range(3)]))
    assert int(whole.events.animals.sum()) == sum(int(part.events.animals.sum()) for part in parts)
    assert whole.trap_nights == 30
    assert [d.name for d in whole.survey.deployments] == ["cam01", "cam02", "cam03"]


def test_events_worked_out_are_those_that_are_stored(tmp_path: Path) -> None:
    for name, stored in (("with.db", True), ("without.db", False)):
        make(tmp_path / name, seed=4, frames=600, deployments=2, days=5, events=stored)
    a, b = (Study(load([tmp_path / name])).events for name in ("with.db", "without.db"))
    assert a.start.tolist() == b.start.tolist()
    assert a.taxon.tolist() == b.taxon.tolist()
    import sqlite3

    with sqlite3.connect(tmp_path / "with.db") as connection:
        assert len(a) == connection.execute("SELECT count(*) FROM event").fetchone()[0]


def test_filters(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db", zone="Africa/Nairobi")
    database.deployment("ridge", time_zone="Africa/Nairobi")
    database.deployment("ford", time_zone="Africa/Nairobi")
    database.frame(0, "lion", 0.95, camera="ridge")
    database.frame(86400, "leopard", 0.6, camera="ridge")
    reviewed = database.frame(2 * 86400, "impala", 0.3, camera="ford")
    database.answer(reviewed, "impala", by="Ana")

    def names(**selection: object) -> list[str]:
        return sorted(name for _, name, _ in said(load([database.path], Selection(**selection))))  # type: ignore[arg-type]

    assert names(species=("Felidae",)) == ["leopard", "lion"]
    assert names(species=("Lion",)) == ["lion"]
    assert names(deployments=("ford",)) == ["impala"]
    assert names(min_confidence=0.9) == ["impala", "lion"]
    assert names(reviewed=True) == ["impala"]
    assert names(since=moment("2026-05-02"), until=moment("2026-05-02", end=True)) == ["leopard"]
    with pytest.raises(ReportError, match="no deployment 'x' here; there are: ford, ridge"):
        names(deployments=("x",))
    with pytest.raises(ReportError, match="no taxon is called 'unicorn' here; `edge-report csv` lists"):
        names(species=("unicorn",))


def test_own_interval_at_the_report(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for minute in (0, 20, 40):
        database.frame(minute * 60, "lion")
    assert len(Study(load([database.path])).events) == 1
    ten = Rules(interval_s=600)
    assert len(Study(load([database.path], rules=ten), rules=ten).events) == 3


def test_what_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is a text, longer than the header of a database is" * 5)
    with pytest.raises(ReportError, match="is it a detections database"):
        load([tmp_path / "text.db"])


def test_one_name_at_two_places_is_two_cameras(tmp_path: Path) -> None:
    lines: list[str] = []
    for number, latitude in enumerate((-1.5, -1.5005, -1.6, None)):  # 56 m, then 11 km
        (tmp_path / str(number)).mkdir()
        database = ByHand(tmp_path / str(number) / "detections.db")
        database.deployment("cam1", latitude=latitude, longitude=36.5)
        database.frame(number, "lion", camera="cam1")
    paths = [tmp_path / str(number) / "detections.db" for number in range(4)]
    zone = {"cam1": deployment_table.Deployment(id="cam1", latitude=-1.5, longitude=36.5, time_zone="Africa/Nairobi")}
    survey = load(paths, overrides=zone, warn=lines.append)
    found = {d.name: (d.latitude, d.zone.key) for d in survey.deployments}
    nairobi = "Africa/Nairobi"
    assert found == {
        "cam1 (0)": (-1.5, nairobi), "cam1 (2)": (-1.6, nairobi), "cam1 (3)": (None, nairobi)
    }  # fmt: skip
    assert lines == [
        "'cam1' stands at places 11,119 m apart in these databases and is told apart: 'cam1 (0)', 'cam1 (2)',"
        " 'cam1 (3)'"
    ]
    assert [d.name for d in load(paths[:2]).deployments] == ["cam1"]
    assert [d.name for d in load(paths[:1] + paths[3:]).deployments] == ["cam1"]
