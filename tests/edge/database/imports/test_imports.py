"""Detections and labels that other programs wrote for exported frames are imported for the right frames."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from edge.commands.report import main
from edge.database.imports.camtrap_dp import import_package
from edge.database.imports.import_result import ImportProblem
from edge.database.imports.megadetector import import_file
from edge.database.imports.speciesnet import import_predictions
from edge.database.schema import open_database
from edge.report.analysis.study import Study
from edge.report.read.load import load
from tests.support.database_by_hand import ByHand
from tests.support.made_survey import make


def test_boxes_of_a_detector_count_animals_and_hide_people(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "impala", path="/data/cam/A/IMG_1.JPG")
    database.frame(5, "impala", path="/data/cam/B/IMG_1.JPG")
    results = {
        "info": {"format_version": "1.4", "detector": "md_v5a"},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": [
            {
                "file": "A\\IMG_1.JPG",
                "detections": [
                    {"category": "1", "conf": 0.9, "bbox": [0.1, 0.1, 0.2, 0.2]},
                    {"category": "1", "conf": 0.8, "bbox": [0.5, 0.1, 0.2, 0.2]},
                    {"category": "1", "conf": 0.1, "bbox": [0.7, 0.7, 0.1, 0.1]},
                ],
            },
            {"file": "B/img_1.jpg", "detections": [{"category": "2", "conf": 0.7, "bbox": [0, 0, 1, 1.0000001]}]},
            {"file": "C/other.jpg", "detections": []},
            {"file": "A/broken.jpg", "failure": "Failure image access", "detections": None},
        ],
    }
    (tmp_path / "md.json").write_text(json.dumps(results))
    for here in ("", " (3 were here already)"):  # a second time changes nothing
        outcome = import_file(database.connection, tmp_path / "md.json")
        assert outcome.describe() == (
            f"3 observations for 2 frames{here}, 1 entries passed over, 1 not found here (first: C/other.jpg)"
        )
    study = Study(load([database.path]))
    assert study.survey.records.count.tolist() == [2, 0]
    assert study.survey.people.tolist() == [1]
    assert database.connection.execute("SELECT count FROM event").fetchone() == (2,)


def test_a_name_that_fits_two_frames_fits_none(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "impala", path="/a/IMG_1.JPG")
    database.frame(5, "impala", path="/b/IMG_1.JPG")
    images = [{"file": "IMG_1.JPG", "detections": []}]
    (tmp_path / "md.json").write_text(json.dumps({"info": {}, "detection_categories": {}, "images": images}))
    (said,) = import_file(database.connection, tmp_path / "md.json").unclear
    assert said.startswith("IMG_1.JPG fits 2 frames (/a/IMG_1.JPG, /b/IMG_1.JPG)")


def test_a_file_of_another_format_changes_nothing(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "impala", path="/a/IMG_1.JPG")
    for text in ("no json", "[]", '{"images": 3}'):
        (tmp_path / "x.json").write_text(text)
        for read in (import_file, import_predictions):
            with pytest.raises(ImportProblem):
                read(database.connection, tmp_path / "x.json")
    assert database.connection.execute("SELECT count(*) FROM model").fetchone() == (1,)


@pytest.mark.parametrize("level", ["media", "event"])
def test_labels_of_people_come_back_from_camtrap_dp(tmp_path: Path, level: str) -> None:
    make(tmp_path / "d.db", seed=8, frames=120, deployments=1, days=6)
    config = tmp_path / "c.toml"
    config.write_text(
        '[project]\ntitle = "T"\ncontributors = [{title = "A"}]\nsampling_design = "targeted"\n'
        'capture_method = "activityDetection"\n'
    )
    words = ["camtrap-dp", "--db", str(tmp_path / "d.db"), "--out", str(tmp_path / "dp"), "--config", str(config)]
    assert main(words) == 0
    path = tmp_path / "dp" / "observations.csv"
    with path.open(encoding="utf-8", newline="") as file:
        observations = list(csv.DictReader(file))
    wanted = next(o for o in observations if o["observationLevel"] == level and o["scientificName"] == "Equus quagga")
    # As reviewing tools do, a person's observation is added beside the machine's.
    line = {**wanted, "observationID": "r1", "classificationMethod": "human", "classifiedBy": "Ana"}
    line |= {"scientificName": "Panthera leo", "count": "2"}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, observations[0].keys())
        writer.writeheader()
        writer.writerows([*observations, line])
    shutil.make_archive(str(tmp_path / "dp"), "zip", tmp_path / "dp")
    connection = open_database(tmp_path / "d.db")
    outcome = import_package(connection, tmp_path / "dp.zip")
    of_media = [o["eventID"] for o in observations if o["observationLevel"] == "media"]
    expected = 1 if level == "media" else of_media.count(wanted["eventID"])
    assert (outcome.frames, outcome.not_found) == (expected, [])
    said = connection.execute(
        "SELECT DISTINCT taxon, rank, count, classified_by FROM observation WHERE method = 'human'"
    ).fetchall()
    assert said == [("Panthera leo", "species", 2, "Ana")]
    assert connection.execute("SELECT count(*) FROM event WHERE method = 'human' AND count = 2").fetchone() == (1,)
