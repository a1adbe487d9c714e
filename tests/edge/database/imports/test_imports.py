"""Detections and labels that other programs wrote for exported frames are imported for the right frames."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

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


def detections(folder: Path, *images: dict[str, object], detector: str = "md_v5a") -> Path:
    path = folder / "md.json"
    document = {
        "info": {"detector": detector},
        "detection_categories": {"1": "animal", "2": "person"},
        "images": images,
    }
    path.write_text(json.dumps(document))
    return path


def box(confidence: float = 0.9, category: str = "1") -> dict[str, object]:
    return {"category": category, "conf": confidence, "bbox": [0.1, 0.1, 0.2, 0.2]}


def test_an_import_that_differs_is_a_revision_and_nothing_is_deleted(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "impala", path="/cap/A/IMG_1.JPG")
    counted = []
    for boxes in ([box(), box(0.8)], [box(), box(0.8)], [box()], [], [], [box()]):
        import_file(database.connection, detections(tmp_path, {"file": "A/IMG_1.JPG", "detections": boxes}))
        counted.append(database.connection.execute("SELECT number FROM effective_observation").fetchone()[0])
        assert load([database.path]).records.count.tolist() == [counted[-1] or 0]
    assert counted == [2, 2, 1, None, None, 1]
    rows = database.connection.execute(
        "SELECT revision, subject, kind, confidence FROM observation WHERE configuration IS NULL ORDER BY id"
    ).fetchall()
    animal = "animal"
    assert rows == [
        (0, 1, animal, 0.9),
        (0, 2, animal, 0.8),
        (1, 1, animal, 0.9),
        (2, 0, "blank", None),
        (3, 1, animal, 0.9),
    ]
    assert database.connection.execute("SELECT taxon FROM detections").fetchone() == ("Aepyceros melampus",)
    model = database.connection.execute("SELECT name, card, sha256 LIKE 'import:%' FROM model WHERE id > 1").fetchall()
    assert model == [("md_v5a", "{}", 1)]


def test_boxes_that_an_older_version_imported_are_not_imported_twice(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    frame = database.frame(0, "impala", path="/cap/A/IMG_1.JPG")
    more: dict[str, Any] = {"model": None, "configuration": None, "box_source": "imported", "classified_by": "md_v5a"}
    database.answer(frame, "animal", subject=4, box=(0.1, 0.1, 0.2, 0.2), taxon="Animalia", rank="kingdom", **more)
    outcome = import_file(database.connection, detections(tmp_path, {"file": "A/IMG_1.JPG", "detections": [box()]}))
    assert (outcome.rows, outcome.new_rows) == (1, 0)
    assert database.connection.execute("SELECT number FROM effective_observation").fetchone() == (1,)


def test_bad_images_are_left_out_and_the_others_imported(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for number in range(1, 4):
        database.frame(number, "impala", path=f"/cap/A/IMG_{number}.JPG")
    path = detections(
        tmp_path,
        {"file": "A/IMG_1.JPG", "detections": [box(), {"category": "1"}]},
        {"file": "A/IMG_2.JPG", "detections": [{**box(), "bbox": [10, 20, 300, 400]}]},
        {"detections": []},
        {"file": "A/IMG_3.JPG", "detections": [box()]},
        {"file": "A/IMG_3.JPG", "detections": [box()]},
    )
    outcome = import_file(database.connection, path)
    assert (outcome.rows, outcome.frames, len(outcome.bad_rows), outcome.complete) == (1, 1, 3, False)
    assert "image 2: A/IMG_2.JPG: bbox is [10, 20, 300, 400]; expected four numbers from 0 to 1" in outcome.bad_rows[1]
    twice = detections(
        tmp_path, {"file": "A/IMG_1.JPG", "detections": [box()]}, {"file": "A/IMG_1.JPG", "detections": [box(0.5)]}
    )
    outcome = import_file(database.connection, twice)
    assert (outcome.rows, len(outcome.unclear)) == (0, 1)


def test_speciesnet_is_shown_where_no_model_of_ours_decided(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for number in range(1, 6):
        database.frame(number * 5000, "impala", path=f"/cap/A/IMG_{number}.JPG")
    database.connection.execute("DELETE FROM observation WHERE media > 1")
    lion = "ddf59264;mammalia;carnivora;felidae;panthera;leo;lion"
    cat = "aaf59264;mammalia;carnivora;felidae;;;cat family"
    common = {"model_version": "4.0.1a"}
    detection = {"category": "1", "label": "animal", "conf": 0.9, "bbox": [0.1, 0.1, 0.2, 0.2]}
    predictions: list[dict[str, object]] = [
        {"filepath": "A/IMG_1.JPG", "prediction": lion, "prediction_score": 0.9, "detections": [detection] * 2},
        {"filepath": "A/IMG_2.JPG", "prediction": cat, "prediction_score": 0.8, "detections": [detection] * 3,
         "prediction_source": "classifier+rollup_to_family",
         "classifications": {"classes": [lion, cat], "scores": [0.6, 0.2]}},
        {"filepath": "A/IMG_3.JPG", "prediction": "990ae9dd;mammalia;primates;hominidae;homo;sapiens;human"},
        {"filepath": "A/IMG_4.JPG", "prediction": "f1856211;;;;;;blank", "prediction_score": 0.99},
        {"filepath": "A/IMG_5.JPG", "prediction": "f2efdae9" + ";no cv result" * 6},
        {"filepath": "A/IMG_6.JPG", "failures": ["CLASSIFIER"]},
        {"filepath": "A/IMG_7.JPG", "prediction": "lion"},
    ]  # fmt: skip
    path = tmp_path / "sn.json"
    path.write_text(json.dumps({"predictions": [{**one, **common} for one in predictions]}), "utf-8-sig")
    for new in (10, 0):
        outcome = import_predictions(database.connection, path)
        assert (outcome.rows, outcome.new_rows, outcome.passed_over, len(outcome.bad_rows)) == (10, new, 1, 1)
    rows = database.connection.execute("SELECT kind, taxon, rank, number, reason FROM effective_observation").fetchall()
    assert rows == [
        ("animal", "Aepyceros melampus", "species", 2, "confident"),
        ("animal", "Felidae", "family", 3, "rolled_up"),
        ("human", None, None, None, "confident"),
        ("blank", None, None, None, "blank"),
        ("unknown", None, None, None, "below_threshold"),
    ]
    assert database.connection.execute("SELECT name, version, card FROM model WHERE id > 1").fetchall() == [
        ("SpeciesNet", "4.0.1a", "{}")
    ]
    assert database.connection.execute("SELECT taxon, rank FROM candidate").fetchall() == [
        ("Panthera leo", "species"), ("Felidae", "family")
    ]  # fmt: skip
    assert database.connection.execute("SELECT count(*) FROM pin").fetchone() == (1,)
    assert load([database.path]).records.count.tolist() == [2, 3, 0, 0, 0]


OBSERVATIONS = "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,"
OBSERVATIONS += "scientificName,count,lifeStage,classificationMethod,classifiedBy,classificationTimestamp\n"


def package(folder: Path, media: str, observations: str) -> Path:
    """A package whose frames are those of `frames_of_two`, one line for each observation."""
    path = folder / "dp"
    path.mkdir(exist_ok=True)
    (path / "datapackage.json").write_text('{"taxonomic": [{"scientificName": "Equus quagga"}]}', "utf-8-sig")
    (path / "media.csv").write_text("mediaID,deploymentID,timestamp,filePath,fileName\n" + media, "utf-8-sig")
    (path / "observations.csv").write_text(OBSERVATIONS + observations, "utf-8-sig")
    return path


@pytest.fixture
def two(tmp_path: Path) -> ByHand:
    database = ByHand(tmp_path / "d.db")
    for number in (1, 2):
        database.frame(number, "impala", path=f"/cap/A/IMG_{number}.JPG")
    return database


MEDIA = "m1,A,2026-05-01T06:00:01Z,A/IMG_1.JPG,\nm2,A,2026-05-01T06:00:02Z,A/IMG_2.JPG,\n"
SEEN = (
    "SELECT media, taxon, number, classified_by FROM effective_observation WHERE method = 'human' ORDER BY media, line"
)


def test_lines_add_up_within_an_act_and_an_event_and_never_beyond(tmp_path: Path, two: ByHand) -> None:
    event = "{id},A,,{event},2026-05-01T06:00:00Z,2026-05-01T06:00:09Z,event,animal,Equus quagga,{count},,human,{by},\n"
    lines = [("a", "e1", 2, "Ana"), ("b", "e1", 3.0, "Ana"), ("c", "e2", 4, "Ana"), ("d", "e1", 1, "Ben")]
    text = "".join(event.format(id=id_, event=e, count=count, by=by) for id_, e, count, by in lines)
    assert import_package(two.connection, package(tmp_path, MEDIA, text)).complete
    assert {row[2:] for row in two.connection.execute(SEEN)} == {(1, "Ben")}
    two.connection.execute("DELETE FROM observation WHERE classified_by = 'Ben'")
    assert {row[2:] for row in two.connection.execute(SEEN)} == {(2, "Ana"), (3, "Ana")}


def test_what_was_said_last_counts_and_media_go_before_events(tmp_path: Path, two: ByHand) -> None:
    text = (
        "a,A,m1,,,,media,animal,Panthera leo,1,,human,Ana,2026-06-02T00:00:00Z\n"
        "b,A,m1,,,,media,animal,Equus quagga,1,,human,Ben,2026-06-01T00:00:00Z\n"
        "c,A,,e1,2026-05-01T06:00:00Z,2026-05-01T06:00:09Z,event,animal,Equus quagga,9,,Human,Cem,2026-07-01\n"
    )
    assert import_package(two.connection, package(tmp_path, MEDIA, text)).complete
    assert two.connection.execute(SEEN).fetchall() == [(1, "Panthera leo", 1, "Ana"), (2, "Equus quagga", 9, "Cem")]
    before = two.connection.execute("SELECT count(*) FROM observation").fetchone()
    import_package(two.connection, package(tmp_path, MEDIA, text))
    assert two.connection.execute("SELECT count(*) FROM observation").fetchone() == before


def test_bad_rows_of_a_package_are_left_out_and_named(tmp_path: Path, two: ByHand) -> None:
    text = (
        "a,A,m1,,,,media,animal,Panthera leo,several,,human,Ana,\n"
        "b,A,m1,,,,media,fish,,1,,human,Ana,\n"
        "c,A,m1,,,,media,animal,Panthera leo,1,,,Ana,\n"
        "d,A,m9,,,,media,animal,Panthera leo,1,,human,Ana,\n"
        "e,A,m2,,,,media,animal,Panthera leo,2.0,,human,Ana,\n"
    )
    outcome = import_package(two.connection, package(tmp_path, MEDIA, text))
    assert outcome.bad_rows == [
        "observations.csv line 2: count is 'several'; expected a whole number from 1, such as 3; the row was left out",
        "observations.csv line 3: observationType is 'fish'; expected one of animal, human, vehicle, blank, unknown;"
        " the row was left out",
    ]
    assert (outcome.not_found, len(outcome.not_placed)) == (["m9"], 1)
    assert two.connection.execute(SEEN).fetchall() == [(2, "Panthera leo", 2, "Ana")]


def test_two_media_of_one_frame_are_named_and_nothing_of_them_is_imported(tmp_path: Path, two: ByHand) -> None:
    media = "m1,A,,IMG_1.JPG,\nm2,B,,IMG_1.JPG,\nm3,A,,A/IMG_2.JPG,\n"
    text = "".join(f"o{n},A,m{n},,,,media,animal,Panthera leo,1,,human,Ana,\n" for n in (2, 3))
    outcome = import_package(two.connection, package(tmp_path, media, text))
    assert len(outcome.unclear) == 1
    assert "IMG_1.JPG (m1)" in outcome.unclear[0]
    assert "IMG_1.JPG (m2)" in outcome.unclear[0]
    assert two.connection.execute(SEEN).fetchall() == [(2, "Panthera leo", 1, "Ana")]
