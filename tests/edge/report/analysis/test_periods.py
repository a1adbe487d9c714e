"""Periods, effort and rates: what a person gave wins, and a wrong clock never counts as watching."""

import csv
from pathlib import Path

import numpy as np
import pytest

from edge.commands.report import main
from edge.report.analysis.agreement import agreement
from edge.report.analysis.camera_health import find_problems
from edge.report.analysis.sampling_effort import deployment_period
from edge.report.analysis.study import Study
from edge.report.page.page import render
from edge.report.read.filters import Selection
from edge.report.read.load import load
from edge.report.read.local_time import day_text
from edge.settings.deployment_table import Deployment
from tests.support.database_by_hand import START, ByHand

DAY, YEAR = 86400, 365 * 86400
GIVEN = {"ridge": Deployment(id="ridge", start="2026-05-01", end="2026-05-31")}


@pytest.fixture
def ridge(tmp_path: Path) -> ByHand:
    """A camera with a lion on the 1st, the 4th and the 7th of May 2026."""
    database = ByHand(tmp_path / "d.db")
    database.deployment("ridge", latitude=-1.5, longitude=36.5, time_zone="UTC")
    for day in (0, 3, 6):
        database.frame(day * DAY, "lion", camera="ridge")
    return database


def study(database: ByHand, given: bool = False, **selection: object) -> Study:
    chosen = Selection(**selection)  # type: ignore[arg-type]
    return Study(load([database.path], chosen, overrides=GIVEN if given else None), chosen)


def table(path: Path) -> list[list[str]]:
    """The lines of a CSV file below its first."""
    return list(csv.reader(path.read_text("utf-8").splitlines()))[1:]


def nights(of: Study) -> list[int]:
    return [effort.trap_nights for effort in of.efforts]


def period(of: Study, place: int = 0) -> list[str] | None:
    found = deployment_period(of.survey, place)
    return None if found is None else [day_text(int(at) // DAY) for at in found]


@pytest.mark.parametrize(
    ("seconds", "doubt"),
    [
        (-8 * YEAR, "backwards"),
        (-8 * YEAR, "reset"),
        (-8 * YEAR, None),
        (-1.5 * YEAR, "zone_assumed"),
        (30 * YEAR, "future"),
        (3 * YEAR, None),
        (-26 * YEAR, "before_2005,backwards"),
        (40 * DAY, "edited"),
        (-40 * DAY, "unreadable_time"),
        (90 * DAY, "no_exif"),
        (None, "no_exif"),
    ],
)
@pytest.mark.parametrize("given", [False, True])
def test_a_frame_with_a_doubtful_time_moves_no_period(
    ridge: ByHand, seconds: float | None, doubt: str | None, given: bool
) -> None:
    ridge.frame(seconds, "leopard", camera="ridge", doubt=doubt)
    found = study(ridge, given)
    assert period(found) == (["2026-05-01", "2026-05-31"] if given else ["2026-05-01", "2026-05-07"])
    assert nights(found) == [31 if given else 7]
    rates = {row.name: (row.abundance.events, row.frames) for row in found.species}
    assert rates == {"lion": (3, 3), "leopard": (0, 1)}
    undated = seconds is None or doubt in ("no_exif", "unreadable_time")  # the file's own time, among times of EXIF
    assert found.left_out == (not undated)
    assert any(problem.topic == "clock" for problem in find_problems(found)) == (not undated)


def test_many_frames_of_a_reset_clock_are_a_leap_that_health_asks_about(ridge: ByHand) -> None:
    for number in range(2):
        ridge.frame(-7 * YEAR + number * DAY, "impala", camera="ridge")
    found = study(ridge)
    assert nights(found) == [7]
    (problem,) = find_problems(found)
    assert "2 frames" in problem.text
    assert "a leap of 7 years" in problem.text


def test_a_camera_that_was_silent_for_less_than_a_year_has_no_leap(ridge: ByHand) -> None:
    ridge.frame(-350 * DAY, "impala", camera="ridge")
    assert nights(study(ridge)) == [357]
    assert study(ridge).left_out == 0


def test_frames_outside_the_given_period_are_left_out_of_rates_on_both_sides(ridge: ByHand) -> None:
    for day in (-20, -1, 31, 50):
        ridge.frame(day * DAY, "lion", camera="ridge")
    found = study(ridge, given=True)
    assert found.species[0].abundance.events == 3
    assert found.species[0].abundance.index == pytest.approx(300 / 31)
    assert found.left_out == 4
    assert found.describe_left_out().startswith("4 frames are outside")
    (problem,) = find_problems(found)
    assert "4 frames outside the start and end that were set" in problem.text


def test_one_given_side_bounds_the_other_by_believable_frames(ridge: ByHand) -> None:
    ridge.frame(9 * DAY, "lion", camera="ridge")
    ridge.frame(12 * DAY, "lion", camera="ridge", doubt="edited")
    started = {"ridge": Deployment(id="ridge", start="2026-04-29")}
    assert period(Study(load([ridge.path], overrides=started))) == ["2026-04-29", "2026-05-10"]
    ended = {"ridge": Deployment(id="ridge", end="2026-05-05")}
    assert period(Study(load([ridge.path], overrides=ended))) == ["2026-05-01", "2026-05-05"]


def test_a_camera_without_any_believable_frame_has_no_nights_and_appears(ridge: ByHand, tmp_path: Path) -> None:
    ridge.deployment("ford", latitude=-1.6, longitude=36.6, time_zone="UTC")
    ridge.deployment("hill", latitude=-1.7, longitude=36.7, time_zone="UTC")
    for _ in range(2):
        ridge.frame(None, "impala", camera="ford")
    ridge.frame(-9 * YEAR, "impala", camera="hill", doubt="reset")
    found = study(ridge)
    assert nights(found) == [7, 0, 0]
    page = render(found, False)
    assert "Wildlife at 3 cameras" in page
    assert "1 of 3 cameras" in page
    assert page.count("no usable time") >= 2
    folder = tmp_path / "history"
    assert main(["detection-history", "--db", str(ridge.path), "--out", str(folder)]) == 0
    assert table(folder / "effort.csv") == [["ridge", "7"], ["ford", "0"], ["hill", "0"]]
    assert table(folder / "history_Panthera_leo.csv") == [["ridge", "1"], ["ford", "NA"], ["hill", "NA"]]


@pytest.mark.parametrize("given", [False, True])
def test_an_undated_camera_in_the_exports(ridge: ByHand, tmp_path: Path, given: bool) -> None:
    ridge.deployment("ford", latitude=-1.6, longitude=36.6, time_zone="UTC")
    ridge.frame(None, "impala", camera="ford")
    config = tmp_path / "c.toml"
    config.write_text(
        '[project]\ntitle = "T"\ncontributors = [{title = "A", role = "contact"}]\nsampling_design = "opportunistic"\n'
        'capture_method = "activityDetection"\n[deployment.ford]\nlatitude = -1.6\nlongitude = 36.6\n'
        + ("start = 2026-05-01\nend = 2026-05-31\n" if given else ""),
        "utf-8",
    )
    periods = {}
    for name, columns in (("camtrap-dp", (6, 7)), ("wildlife-insights", (5, 6))):
        arguments = [name, "--db", str(ridge.path), "--config", str(config), "--out", str(tmp_path / name)]
        assert main(arguments) == 0
        key = 0 if name == "camtrap-dp" else 1
        rows = table(tmp_path / name / "deployments.csv")
        periods[name] = {row[key]: [row[column][:10] for column in columns] for row in rows}
    ford = ["2026-05-01", "2026-05-31"]
    assert periods["wildlife-insights"]["ford"] == (ford if given else ["", ""])
    assert periods["camtrap-dp"].get("ford") == (ford if given else None)


def test_an_event_that_begins_before_the_given_period_and_goes_on_in_it_counts(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.deployment("ridge", time_zone="UTC", start="2026-05-01T06:10:00", end="2026-05-02")
    for seconds in (0, 900):
        database.frame(seconds, "lion", camera="ridge")
    found = Study(load([database.path]))
    assert (len(found.events), found.species[0].abundance.events, found.left_out) == (1, 1, 1)


def test_every_number_of_events_on_the_page_is_the_same(ridge: ByHand) -> None:
    for number in range(12):
        ridge.frame(number * 4000 + 2000, "impala", camera="ridge", doubt="reset" if number < 5 else None)
    found = study(ridge)
    rated = int(found.events.rated.sum())
    assert rated == sum(row.abundance.events for row in found.species) == 10
    page = render(found, False)
    assert f"<b>{rated}</b><span>animal events</span>" in page
    assert f"{rated} events, " in page
    assert "5 animal events in the exports are not counted here" in page


def test_a_label_of_unknown_lineage_is_in_no_share(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    said = [
        ("lion", "Panthera leo", "species"),
        ("cat family", "Panthera leo", "species"),
        ("cat family", "Felis manul", "species"),  # of a genus that no model knows: is it a cat?
        ("Mammalia", "Felis manul", "species"),
        ("lion", "Felis manul", "species"),  # another species, whatever its line
        ("lion", "Panthera leo persica", "species"),  # a subspecies of what the model named
        ("cat family", "Canidae", "family"),  # another family
        ("lion", "tracks", ""),  # no taxon that anything is known of
    ]
    names = {"Mammalia": "mammal"}
    for number, (machine, name, rank) in enumerate(said):
        frame = database.frame(number * 9000, names.get(machine, machine))
        database.answer(frame, "lion", by="Ana", taxon=name, rank=rank, common_name=name)
    found = agreement(Study(load([database.path])))
    assert found is not None
    assert (found.frames, found.undecided) == (8, 3)
    assert (found.same.hits, found.coarser.hits, found.same.of) == (1, 2, 5)


def test_an_interval_that_says_nothing_is_too_few_events(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for camera in range(6):
        database.deployment(f"c{camera}", time_zone="UTC", start="2026-05-01", end="2026-05-30")
        for event in range(8):
            database.frame(event * 40_000 + camera, "impala", camera=f"c{camera}")
    database.frame(5_000, "leopard", camera="c0")
    found = study(database)
    assert {row.name: row.abundance.interval_says_something for row in found.species} == {
        "impala": True,
        "leopard": False,
    }
    assert render(found, False).count("too few events)") == 1


def test_peaks_are_intervals(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    rng = np.random.default_rng(0)
    for day in range(40):
        database.frame(day * DAY + int(rng.normal(0, 1800)), "lion")
        database.frame(day * DAY + int(rng.integers(0, DAY)), "impala")
    page = render(study(database), False)
    assert "most between 0" in page
    assert "no clear peak" in page
    assert "most around" not in page
    assert START.hour == 6
