"""A study of one database that holds everything at once: the formats are checked on it."""

from pathlib import Path

import pytest

from edge.commands.classify import main
from tests.support.database_by_hand import ByHand
from tests.support.made_survey import make
from tests.support.places import FIELD_FRAMES
from tests.support.signal_handlers import keep_signals

PROJECT = """
[project]
title = "Hills and fords"
contributors = [{title = "A. Ranger", role = "contact"}, {title = "The Trust", role = "rightsHolder"}]
sampling_design = "opportunistic"
capture_method = "activityDetection"

[deployment.ford]
latitude = -2.4
longitude = 36.9
time_zone = "Africa/Nairobi"
end = 2026-06-01
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras, eight days, 500 made frames."""
    path = tmp_path_factory.mktemp("made") / "made.db"
    make(path, seed=2, frames=500, deployments=2, days=8)
    return path


@pytest.fixture(scope="session")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile names, boxes, people, doubts, no times, unreadable files: one of each."""
    folder = tmp_path_factory.mktemp("awkward")
    database = ByHand(folder / "awkward.db", zone="Africa/Nairobi")
    database.deployment("ford")
    database.frame(0, "lion", camera="ford", path="/home/me/=cmd|' /C calc'!A0/a..b.JPG", infrared=1)
    database.frame(700, "human", camera="ford", path="/home/me/person.jpg")
    database.frame(9000, "blank", camera="ford", path="/home/me/.hidden.jpg", infrared=0)
    database.frame(12000, "unknown", 0.2, camera="ford", path="/home/me/<script>alert(1)</script>.png")
    boxed = database.frame(20000, "impala", camera="ford", path='/home/me/Ünïcode, "quoted".tif', doubt="dst_gap")
    for i in range(2):
        database.answer(boxed, "impala", 0.8 - i / 10, subject=i + 1, box=(0.1 + 0.4 * i, 0.2, 0.3, 0.4))
    seen = database.frame(30000, "leopard", camera="ford", path="/home/me/seen.jpg")
    database.answer(seen, "lion", by='=HYPERLINK("evil")', count=2)
    database.answer(seen, "impala", by='=HYPERLINK("evil")', count=1, subject=1)
    database.frame(None, "lion", camera="ford", path="/home/me/undated.jpg")
    raw = database.frame(40000, "cat family", camera="ford", path="/home/me/x.jpg")
    database.connection.execute("UPDATE media SET path = ? WHERE id = ?", (b"/home/me/raw\xff.jpg", raw))
    database.connection.execute(
        "INSERT INTO candidate (observation, place, taxon, rank, probability) "
        "SELECT id, 1, 'Panthera leo', 'species', 0.5 FROM observation WHERE media = ?",
        (raw,),
    )
    database.unreadable("/home/me/half.jpg")
    database.connection.close()
    return database.path


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What only a person knows."""
    path = tmp_path_factory.mktemp("config") / "study.toml"
    path.write_text(PROJECT, "utf-8")
    return path


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cameras' real frames, classified by the shipped model."""
    if not FIELD_FRAMES.is_dir():
        pytest.skip("no real frames in ../shared/data/field")
    folder = tmp_path_factory.mktemp("real")
    cameras = ("ena24", "porini", "rabbit")
    tables = (
        f'[deployment.{name}]\nfolder = "{FIELD_FRAMES / name}"\nlatitude = {place}.5\nlongitude = 36.5\n'
        for place, name in enumerate(cameras)
    )
    settings = folder / "cameras.toml"
    settings.write_text('time_zone = "Africa/Nairobi"\n' + "".join(tables), "utf-8")
    folders = [str(FIELD_FRAMES / name) for name in cameras]
    with keep_signals():
        assert main([*folders, "-q", "--config", str(settings), "--db", str(folder / "real.db")]) == 0
    return folder / "real.db"
