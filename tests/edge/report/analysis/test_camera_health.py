"""Each fault is put into a healthy camera, and found; the healthy camera has none."""

import shlex
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from edge.commands.db import main as edge_db
from edge.commands.report import main
from edge.report.analysis.camera_health import find_problems
from edge.report.analysis.study import Study
from edge.report.read.load import load
from edge.timestamps import iso_utc
from tests.support.database_by_hand import START, ByHand

DAYS = 30
HOUR, DAY = 3600, 86400


def camera(
    path: Path,
    skip: Callable[[int, int], bool] = lambda day, hour: False,
    moved_on: int | None = None,
    covered_on: int | None = None,
    slow_s_per_day: float = 0.0,
) -> ByHand:
    """A frame every third hour for a month, at the equator, so that half of them are by night."""
    database = ByHand(path)
    database.deployment("ridge", latitude=0.0, longitude=0.0, time_zone="UTC")
    rng = np.random.default_rng(0)
    scene, other = rng.integers(20, 230, 192), rng.integers(20, 230, 192)
    database.connection.execute("BEGIN")
    for day in range(DAYS):
        for hour in range(0, 24, 3):
            if skip(day, hour):
                continue
            seen = other if moved_on is not None and day >= moved_on else scene
            level = np.full(192, 90) if covered_on is not None and day >= covered_on else seen
            noisy = np.clip(level + rng.normal(0, 3, 192), 0, 255).astype(np.uint8)
            late = timedelta(seconds=day * DAY + (hour - 6) * HOUR + 30 + day * slow_s_per_day)
            database.frame(
                day * DAY + (hour - 6) * HOUR,
                "impala",
                camera="ridge",
                infrared=int(not 6 <= hour < 18),
                scene=noisy.tobytes(),
                received_at=iso_utc(START + late),
            )
    database.connection.execute("COMMIT")
    return database


def topics(database: ByHand) -> list[tuple[str, bool]]:
    return [(found.topic, found.lasting) for found in find_problems(Study(load([database.path])))]


def test_a_healthy_camera_has_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = camera(tmp_path / "d.db")
    assert topics(database) == []
    assert main(["health", "--db", str(database.path)]) == 0
    assert capsys.readouterr().out == "no problem found\n"


def test_silence_beyond_the_habit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = camera(tmp_path / "d.db", skip=lambda day, hour: 10 <= day < 16)
    assert topics(database) == [("silence", False)]
    assert main(["health", "--db", str(database.path)]) == 1
    line = capsys.readouterr().out
    assert line.startswith("ridge: no frame for 6.1 days from 10 May 2026 to 17 May 2026")
    assert line.count("\n") == 1


def test_broken_flash(tmp_path: Path) -> None:
    assert topics(camera(tmp_path / "a.db", skip=lambda day, hour: not 7 < hour < 17)) == [("flash", True)]
    assert topics(camera(tmp_path / "b.db", skip=lambda day, hour: day > 10 and not 7 < hour < 17)) == [("flash", True)]


def test_camera_moved_or_covered(tmp_path: Path) -> None:
    assert topics(camera(tmp_path / "a.db", moved_on=12)) == [("scene", False)]
    assert topics(camera(tmp_path / "b.db", covered_on=20)) == [("scene", True)]


def test_many_blank_frames(tmp_path: Path) -> None:
    database = camera(tmp_path / "d.db")
    for i in range(150):
        database.frame(5 * DAY + i * 60, "blank", camera="ridge", infrared=0)
    assert topics(database) == [("blanks", False)]


def test_clock_that_drifts(tmp_path: Path) -> None:
    assert topics(camera(tmp_path / "d.db", slow_s_per_day=60)) == [("clock", True)]


def test_disk_that_fills_and_device_that_was_silent(tmp_path: Path) -> None:
    database = camera(tmp_path / "d.db", skip=lambda day, hour: day in (20, 21))
    for hour in range(DAYS * 24 - 6):
        if not 20 * 24 <= hour + 6 < 22 * 24:
            database.connection.execute(
                "INSERT INTO heartbeat (at, free_bytes, clock_synchronised) VALUES (?, ?, 1)",
                (iso_utc(START + timedelta(hours=hour)), 80_000_000_000 - hour * 100_000_000),
            )
    assert sorted(topics(database)) == [("disk", True), ("silence", False)]
    (advice,) = [finding.text for finding in find_problems(Study(load([database.path]))) if finding.topic == "disk"]
    assert edge_db(shlex.split(advice.split("`")[1])[1:]) == 0
    effort = Study(load([database.path])).efforts[0]
    assert (effort.trap_nights, len(effort.active)) == (DAYS - 2, DAYS)
