"""Camtrap DP packages: media, events, places, and what is not whole."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from edge.commands.report import main as report
from tests.support.database_by_hand import ByHand
from tests.support.made_files import close, write_csv
from train.data.readers import read_dataset
from train.data.sample import DataError

OBSERVATIONS = (
    "observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,"
    "scientificName,bboxX,bboxY,bboxWidth,bboxHeight\n"
    "o1,d1,m1,e1,2020-01-01T10:00:00+0200,2020-01-01T10:00:01+0200,media,animal,Vulpes vulpes,0.1,0.2,0.3,0.4\n"
    "o2,d1,,e1,2020-01-01T10:00:00+0200,2020-01-01T10:00:01+0200,event,animal,Vulpes vulpes,,,,\n"
    "o3,d2,m4,e2,2020-01-01T10:00:00+0200,2020-01-01T10:00:00+0200,media,blank,,,,,\n"
    "o4,d3,m5,e3,2020-01-01T10:00:00+0200,2020-01-01T10:00:00+0200,media,human,Homo sapiens,,,,\n"
    # In Coordinated Universal Time: 10:00 at the camera, not 12:00.
    "o5,d4,,e4,2020-01-01T07:59:00Z,2020-01-01T08:01:00Z,event,animal,Meles meles,,,,\n"
)
CAMTRAP_DP = {
    "deployments": [
        ["deploymentID", "locationID", "locationName", "latitude", "longitude", "deploymentStart", "deploymentEnd"],
        ["d1", "gate", "The gate", "51", "4", "2020-01-01T00:00:00+0200", "2020-02-01T00:00:00+0200"],
        ["d2", "gate", "The gate", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
        ["d3", "", "The ford", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
        ["d4", "", "NA", "51", "4", "2020-02-01T00:00:00+0200", "2020-03-01T00:00:00+0200"],
    ],
    "media": [
        ["mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileMediatype"],
        *(
            [name, deployment, "activityDetection", f"2020-01-01T{at}+0200", path, "true", "image/jpeg"]
            for name, deployment, at, path in [
                ("m1", "d1", "10:00:00", "media/1.jpg"),
                ("m2", "d1", "10:00:01", "media/2.jpg"),
                ("m3", "d1", "11:00:00", "https://example.org/3.jpg"),
                ("m4", "d2", "10:00:00", "media/4.jpg"),
                ("m5", "d3", "10:00:00", "media/5.jpg"),
                ("m6", "d4", "10:00:00", "media/6.jpg"),
                ("m7", "d4", "12:00:00", "media/7.jpg"),
            ]
        ),
    ],
    "observations": [line.split(",") for line in OBSERVATIONS.splitlines()],
}


def write_camtrap_dp(folder: Path, **changed: list[list[str]]) -> None:
    for name, rows in (CAMTRAP_DP | changed).items():
        write_csv(folder / f"{name}.csv", *rows)
    write_camtrap_dp_resources(folder, {name: f"{name}.csv" for name in CAMTRAP_DP})


def write_camtrap_dp_resources(folder: Path, paths: dict[str, object]) -> None:
    resources = [{"name": name, "path": path} for name, path in paths.items()]
    (folder / "datapackage.json").write_text(json.dumps({"resources": resources}))


def test_camtrap_dp_media_and_event_observations(tmp_path: Path) -> None:
    write_camtrap_dp(tmp_path)
    dataset = read_dataset(tmp_path)
    assert [(s.path.name, s.label, s.location, s.sequence) for s in dataset.samples] == [
        ("1.jpg", "Vulpes vulpes", "gate", "e1"),
        ("2.jpg", "Vulpes vulpes", "gate", "e1"),  # by its deployment and time
        ("4.jpg", "blank", "gate", "e2"),  # another deployment at the same place
        ("5.jpg", "human", "The ford", "e3"),
        ("6.jpg", "Meles meles", "d4", "e4"),
    ]
    assert close(dataset.samples[0].box, (0.1, 0.2, 0.3, 0.4))
    assert dataset.samples[1].box is None
    assert dataset.samples[0].captured_at is not None
    assert dataset.samples[0].captured_at.utcoffset() is not None
    assert dataset.taxa["Meles meles"].genus == "Meles"
    assert [problem.partition(": ")[0] for problem in dataset.problems] == [
        "https://example.org/3.jpg",
        "media/7.jpg",
    ]


def test_camtrap_dp_as_our_own_report_writes_it(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "made.db", zone="Africa/Nairobi")
    for camera in ("ford", "gate"):
        database.deployment(camera)
        for at_s, label in ((0, "impala"), (2, "impala"), (9000, "blank")):
            database.frame(at_s, label, camera=camera, path=f"/home/me/{camera}-{at_s}.jpg")
    database.connection.close()
    places = "".join(f"[deployment.{camera}]\nlatitude = 1.5\nlongitude = 36.5\n" for camera in ("ford", "gate"))
    (tmp_path / "study.toml").write_text(
        '[project]\ntitle = "Fords"\ncontributors = [{title = "A. Ranger"}]\nsampling_design = "opportunistic"\n'
        f'capture_method = "activityDetection"\n{places}'
    )
    asked = ["camtrap-dp", "--db", database.path, "--out", tmp_path / "package", "--config", tmp_path / "study.toml"]
    assert report([str(word) for word in asked]) == 0
    dataset = read_dataset(tmp_path / "package")
    assert dataset.problems == ()
    assert Counter((s.label, s.location) for s in dataset.samples) == {
        (label, camera): count
        for camera in ("ford", "gate")
        for label, count in (("Aepyceros melampus", 2), ("blank", 1))
    }
    assert dataset.taxa["Aepyceros melampus"].family == "Bovidae"
    assert dataset.taxa["Aepyceros melampus"].common_name == "impala"
    assert len({s.sequence for s in dataset.samples}) == 4  # two frames of one event, and a blank, at each place


def test_camtrap_dp_tables_may_be_compressed_or_in_parts(tmp_path: Path) -> None:
    write_camtrap_dp(tmp_path)
    whole = read_dataset(tmp_path).samples
    (tmp_path / "media.csv.gz").write_bytes(gzip.compress((tmp_path / "media.csv").read_bytes()))
    (tmp_path / "media.csv").unlink()
    header, *rows = CAMTRAP_DP["observations"]
    write_csv(tmp_path / "part1.csv", header, *rows[:2])
    write_csv(tmp_path / "part2.csv", header, *rows[2:])
    write_camtrap_dp_resources(
        tmp_path,
        {"deployments": "deployments.csv", "media": "media.csv.gz", "observations": ["part1.csv", "part2.csv"]},
    )
    assert read_dataset(tmp_path).samples == whole


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["0.1", "0.1", "0.2", ""], "incomplete"),
        (["0.1", "0.1", "0", "0"], "no part of the frame"),
        (["10", "10", "200", "100"], "no part of the frame"),
    ],
)
def test_camtrap_dp_boxes_that_are_none_are_listed(tmp_path: Path, cells: list[str], problem: str) -> None:
    header, first, *others = CAMTRAP_DP["observations"]
    write_camtrap_dp(tmp_path, observations=[header, [*first[:-4], *cells], *others])
    dataset = read_dataset(tmp_path)
    assert "1.jpg" not in {sample.path.name for sample in dataset.samples}
    assert any(line.startswith("media/1.jpg: box") and problem in line for line in dataset.problems)


def test_camtrap_dp_bad_times_and_unboxed_species_are_listed(tmp_path: Path) -> None:
    header, first, *others = CAMTRAP_DP["media"]
    said, fox, *rest = CAMTRAP_DP["observations"]
    hare = [*fox[:8], "Lepus europaeus", "", "", "", ""]
    event = ["o9", "d2", "", "e9", "yesterday", "", "event", "animal", "Meles meles", "", "", "", ""]
    write_camtrap_dp(
        tmp_path,
        media=[header, first, *([*row[:3], "30/05/2020", *row[4:]] for row in others[:1]), *others[1:]],
        observations=[said, fox, hare, *rest, event],
    )
    dataset = read_dataset(tmp_path)
    assert {"1.jpg", "2.jpg"}.isdisjoint({sample.path.name for sample in dataset.samples})
    text = "\n".join(dataset.problems)
    assert "media/1.jpg: Lepus europaeus and Vulpes vulpes without a box for each" in text
    assert "media/2.jpg: its time '30/05/2020' is not ISO 8601" in text
    assert "observation o9: its time 'yesterday'" in text


def test_a_camtrap_dp_package_that_is_not_whole_is_told_in_one_line(tmp_path: Path) -> None:
    for document in ("[]", "{", '{"resources": [{"path": "media.csv"}]}', '{"resources": [], "taxonomic": ["fox"]}'):
        (tmp_path / "datapackage.json").write_text(document)
        with pytest.raises(DataError, match="does not describe a Camtrap DP package"):
            read_dataset(tmp_path)
    write_camtrap_dp(tmp_path)
    (tmp_path / "deployments.csv").unlink()
    assert "no table of deployments" in read_dataset(tmp_path).problems[0]
    for media, problem in (
        ("https://example.org/media.csv", "is an address"),
        ("none.csv", "none.csv cannot be read"),
        ("observations.csv", "lacks the column filePath"),
    ):
        write_camtrap_dp_resources(tmp_path, {"media": media, "observations": "observations.csv"})
        with pytest.raises(DataError, match=problem):
            read_dataset(tmp_path)
