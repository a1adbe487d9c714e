"""Every export through the validator of its own standard, and what a spreadsheet would make of it."""

import csv
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edge.commands.report import main
from edge.commands.report_formats import FORMATS
from edge.database.imports.camtrap_dp import import_package
from edge.report.formats import csv as csv_table
from edge.report.formats import parallel_chunks as chunks
from tests.support.database_by_hand import ByHand

SCHEMAS = Path(__file__).parents[5] / "shared" / "standards" / "camtrap-dp-1.0.2"


def report(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(params=["made", "awkward", "real"])
def database(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_camtrap_dp_is_valid_by_frictionless(database: Path, config: Path, tmp_path: Path) -> None:
    frictionless = pytest.importorskip("frictionless")
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMAS.is_dir():
        pytest.skip("no Camtrap DP schemas in ../shared/standards")
    assert report("camtrap-dp", "--db", database, "--out", tmp_path / "dp", "--config", config) == 0
    package = json.loads((tmp_path / "dp" / "datapackage.json").read_text("utf-8"))
    profile = json.loads((SCHEMAS / "camtrap-dp-profile.json").read_text("utf-8"))
    # The profile leans on two addresses that cannot be reached offline; its own part is checked.
    own = json.loads(
        json.dumps(profile["allOf"][1]).replace('"$ref": "http://json.schemastore.org/geojson.json"', '"a": 0')
    )
    jsonschema.Draft4Validator({**own, "$defs": profile["$defs"]}).validate(package)
    for resource in package["resources"]:
        resource["schema"] = json.loads((SCHEMAS / f"{resource['name']}-table-schema.json").read_text("utf-8"))
    del package["profile"]
    outcome = frictionless.Package(package, basepath=str(tmp_path / "dp")).validate()
    assert outcome.valid, outcome.flatten(["title", "fieldName", "message"])[:5]
    observations = lines(tmp_path / "dp" / "observations.csv")
    assert {line["observationLevel"] for line in observations} == {"media", "event"}
    events = {line["eventID"] for line in observations if line["observationLevel"] == "event"}
    assert {line["eventID"] for line in observations if line["eventID"]} == events


def test_camtrap_dp_as_a_zip_holds_the_same(made: Path, config: Path, tmp_path: Path) -> None:
    import zipfile

    assert report("camtrap-dp", "--db", made, "--out", tmp_path / "dp", "--config", config) == 0
    assert report("camtrap-dp", "--db", made, "--out", tmp_path / "dp.zip", "--config", config) == 0
    with zipfile.ZipFile(tmp_path / "dp.zip") as archive:
        assert archive.read("observations.csv") == (tmp_path / "dp" / "observations.csv").read_bytes()


def test_camtrap_dp_refuses_and_names_what_is_missing(
    awkward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report("camtrap-dp", "--db", awkward, "--out", tmp_path / "dp") == 2
    said = capsys.readouterr().err
    for key in ("[project] title", "contributors", "sampling_design", "capture_method", '[deployment."ford"] latitude'):
        assert key in said
    assert said.count("\n") == 1
    assert not (tmp_path / "dp").exists()


def test_boxes_people_and_doubts_in_camtrap_dp(awkward: Path, config: Path, tmp_path: Path) -> None:
    report("camtrap-dp", "--db", awkward, "--out", tmp_path, "--config", config)
    media = {line["mediaID"]: line for line in lines(tmp_path / "media.csv")}
    said = [line for line in lines(tmp_path / "observations.csv") if line["observationLevel"] == "media"]
    boxes = [line for line in said if line["bboxX"]]
    found = [(line["scientificName"], line["bboxX"], line["count"]) for line in boxes]
    assert found == [("Aepyceros melampus", "0.1", "1"), ("Aepyceros melampus", "0.5", "1")]
    people = {line["scientificName"]: line["count"] for line in said if line["classificationMethod"] == "human"}
    assert people == {"Panthera leo": "2", "Aepyceros melampus": "1"}
    assert media[boxes[0]["mediaID"]]["mediaComments"] == "clock doubt: dst_gap"
    assert not any("home" in line["filePath"] for line in media.values())
    (deployment,) = lines(tmp_path / "deployments.csv")
    assert deployment["timestampIssues"] == "true"
    assert deployment["deploymentEnd"] == "2026-06-01T23:59:59+03:00"


def test_megadetector_is_valid_by_its_own_validator(database: Path, tmp_path: Path) -> None:
    validator = pytest.importorskip("megadetector.postprocessing.validate_batch_results")
    assert report("megadetector", "--db", database, "--out", tmp_path / "md.json") == 0
    results = validator.validate_batch_results(str(tmp_path / "md.json"))["validation_results"]
    assert (results["errors"], results["warnings"]) == ([], [])


def test_megadetector_says_blank_only_of_blanks(awkward: Path, tmp_path: Path) -> None:
    report("megadetector", "--db", awkward, "--out", tmp_path / "md.json")
    document: dict[str, Any] = json.loads((tmp_path / "md.json").read_text("utf-8"))
    assert document["info"]["format_version"] == "1.6"
    empty = [image["file"] for image in document["images"] if image["detections"] == []]
    assert len(empty) == 1
    assert empty[0].endswith(".hidden.jpg")
    failed = [image for image in document["images"] if "failure" in image]
    assert [image["failure"] for image in failed] == ["truncated"]
    for image in document["images"]:
        for detection in image["detections"] or []:
            chances = [chance for _, chance in detection.get("classifications", [])]
            assert chances == sorted(chances, reverse=True)
    boxes = [len(image["detections"]) for image in document["images"] if image["detections"]]
    assert sorted(boxes) == [1, 1, 1, 1, 1, 2, 2]  # two boxes; two species that a person saw


@pytest.mark.parametrize("name", ["csv", "events", "wildlife-insights", "detection-history"])
def test_no_cell_becomes_a_formula(awkward: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    assert report(name, "--db", awkward, "--out", out) == 0
    files = list(out.iterdir()) if out.is_dir() else [out]
    assert files
    for path in files:
        for line in lines(path):
            for cell in line.values():
                assert not cell or (cell[0] not in "=+@\t" and (cell[0] != "-" or cell[1:2].isdigit())), cell


def test_long_table_lines_and_types_agree(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("csv", "--db", made) == 0
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert report("jsonl", "--db", made) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(table) == len(objects) == 500
    for row, item in zip(table, objects, strict=True):
        assert {key: str(value) for key, value in item.items()} == {key: value for key, value in row.items() if value}


def test_parquet_is_the_same_table(made: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert report("parquet", "--db", made, "--out", tmp_path / "t.parquet") == 0
    assert report("csv", "--db", made, "--out", tmp_path / "t.csv") == 0
    read = parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["digest"] for row in read] == [row["digest"] for row in lines(tmp_path / "t.csv")]
    assert isinstance(read[0]["confidence"], float)


def test_wildlife_insights_has_their_columns(made: Path, config: Path, tmp_path: Path) -> None:
    assert report("wildlife-insights", "--db", made, "--out", tmp_path, "--config", config) == 0
    images = lines(tmp_path / "images.csv")
    warthog = next(line for line in images if line["common_name"] == "common warthog")
    assert (warthog["genus"], warthog["species"], warthog["class"]) == ("Phacochoerus", "africanus", "Mammalia")
    assert warthog["project_id"] == "Hills and fords"
    assert len(warthog["timestamp"]) == len("2026-03-01 00:00:00")
    cameras = {line["deployment_id"] for line in lines(tmp_path / "deployments.csv")}
    assert {line["deployment_id"] for line in images} == cameras == {"cam01", "cam02"}


def test_detection_history_by_hand(tmp_path: Path) -> None:
    from tests.support.database_by_hand import ByHand

    database = ByHand(tmp_path / "d.db")
    database.deployment("north", time_zone="UTC", start="2026-05-01", end="2026-05-10")
    database.deployment("south", time_zone="UTC", start="2026-05-04", end="2026-05-06")
    database.frame(0, "lion", camera="north")
    database.frame(8 * 86400, "lion", camera="north")
    database.frame(4 * 86400, "impala", camera="south")
    assert report("detection-history", "--db", database.path, "--out", tmp_path / "h", "--occasion-days", 3) == 0
    read = {p.stem: [list(line.values()) for line in lines(p)] for p in (tmp_path / "h").iterdir()}
    assert read == {
        "effort": [["north", "3", "3", "3", "1"], ["south", "0", "3", "0", "0"]],
        "history_Panthera_leo": [["north", "1", "0", "1", "0"], ["south", "NA", "0", "NA", "NA"]],
        "history_Aepyceros_melampus": [["north", "0", "0", "0", "0"], ["south", "NA", "1", "NA", "NA"]],
    }


def test_quick_csv_reads_back_as_what_was_written() -> None:
    from edge.report.formats.csv import csv_lines

    cells: list[Any] = ["a", "b,c", 'd"e', "f\ng", "", None, 1, 2.5, -3, "Ü", "x\r\ny", "'", " "] * 3
    columns = {"path": cells, "repeated": ["p", 'q"', None] * 13, "plain": list(range(39))}
    text = csv_lines(columns, ["path", "repeated", "absent", "plain"])
    read = list(csv.reader(text.splitlines(keepends=True)))
    written = zip(cells, columns["repeated"], [None] * 39, range(39), strict=True)
    assert read == [["" if cell is None else str(cell) for cell in line] for line in written]
    assert csv_lines({"path": ["=1", "-x", "@", "+", "ok"]}, ["path"]) == "'=1\n'-x\n'@\n'+\nok\n"


@pytest.mark.parametrize("format_", [format_.name for format_ in FORMATS])
def test_every_format_of_real_frames(format_: str, real: Path, config: Path, tmp_path: Path) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    assert report(format_, "--db", real, "--config", config, "--out", tmp_path / "out") in (0, 1)  # 1: health has found
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()] or [tmp_path / "out"]
    assert all(path.stat().st_size for path in made)


@pytest.mark.parametrize("format_", ["csv", "jsonl", "megadetector", "parquet", "wildlife-insights", "camtrap-dp"])
def test_chunks_made_by_processes_give_the_same_file(
    format_: str, database: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format_ == "parquet":
        pytest.importorskip("pyarrow")
    words = (format_, "--db", database, "--config", config, "--out")
    assert report(*words, tmp_path / "one") == 0
    monkeypatch.setattr(chunks, "CHUNK", 7)
    monkeypatch.setattr(chunks, "processors", lambda: 3)
    assert report(*words, tmp_path / "many") == 0
    if format_ == "parquet":
        from pyarrow import parquet  # type: ignore[import-untyped,unused-ignore]

        one, many = (parquet.read_table(tmp_path / name).to_pylist() for name in ("one", "many"))
        assert one == many
        return
    made = {name: sorted((tmp_path / name).rglob("*.csv")) or [tmp_path / name] for name in ("one", "many")}
    assert len(made["one"]) == len(made["many"])
    for one, many in zip(made["one"], made["many"], strict=True):
        assert one.read_bytes() == many.read_bytes(), one.name


def test_ctrl_c_ends_in_one_line_and_leaves_the_old_report(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    assert report("csv", "--db", made, "--out", tmp_path / "out.csv", "--quiet") == 0
    old = (tmp_path / "out.csv").read_bytes()
    monkeypatch.setattr(csv_table, "csv_lines", interrupted)
    assert report("csv", "--db", made, "--out", tmp_path / "out.csv") == 130
    assert capsys.readouterr().err.strip().startswith("edge-report: interrupted")
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == old


def test_megadetector_names_each_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "impala", path="/cap/A/IMG_1.JPG")
    database.frame(5, "impala", path="/cap/A/IMG_2.JPG")
    database.unreadable("/cap/B/IMG_1.JPG")
    report("megadetector", "--db", database.path, "--out", tmp_path / "md.json")
    assert files(tmp_path / "md.json") == ["A/IMG_1.JPG", "A/IMG_2.JPG", "B/IMG_1.JPG"]
    # On two disks nothing is shared but the root of all.
    database.frame(9, "impala", path="/mnt/A/IMG_1.JPG")
    report("megadetector", "--db", database.path, "--out", tmp_path / "md.json")
    assert files(tmp_path / "md.json") == ["cap/A/IMG_1.JPG", "cap/A/IMG_2.JPG", "cap/B/IMG_1.JPG", "mnt/A/IMG_1.JPG"]
    # The camera counted from the start again: the file of the first frame is another frame now.
    now = database.frame(60, "plains zebra", path="/cap/A/IMG_1.JPG")
    database.connection.execute(
        "INSERT INTO file (path, bytes, mtime_ns, media, seen_at) VALUES ('/cap/A/IMG_1.JPG', 1, 1, ?, '')", (now,)
    )
    capsys.readouterr()
    report("megadetector", "--db", database.path, "--out", tmp_path / "md.json")
    assert len(files(tmp_path / "md.json")) == len(set(files(tmp_path / "md.json"))) == 4
    assert "1 frames are not in the file" in capsys.readouterr().err


def files(path: Path) -> list[str]:
    """The names in a result file of MegaDetector, sorted."""
    return sorted(image["file"] for image in json.loads(path.read_text())["images"])


def test_camtrap_dp_has_each_line_that_people_wrote(tmp_path: Path, config: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.deployment("x", latitude=1, longitude=2, time_zone="UTC")
    frame = database.frame(0, "impala", camera="x")
    database.answer(frame, "lion", by="Ben", count=1, box=(0.1, 0.1, 0.2, 0.2), box_source="human")
    database.answer(frame, "impala", by="Ana", count=3, life_stage="adult", sex="female", behaviour="grazing")
    database.answer(frame, "impala", by="Ana", count=7, life_stage="juvenile", individual_id="K7", note="twins")
    database.answer(frame, "plains zebra", by="Ana", box=(0.5, 0.5, 0.2, 0.2), box_source="human")
    words = ("camtrap-dp", "--db", database.path, "--config", config)
    assert report(*words, "--out", tmp_path / "dp") == 0
    rows = [row for row in lines(tmp_path / "dp" / "observations.csv") if row["observationLevel"] == "media"]
    names = ("scientificName", "count", "lifeStage", "sex", "behavior", "individualID", "observationComments", "bboxX")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("Aepyceros melampus", "3", "adult", "female", "grazing", "", "", ""),
        ("Aepyceros melampus", "7", "juvenile", "", "", "K7", "twins", ""),
        ("Equus quagga", "1", "", "", "", "", "", "0.5"),
    ]
    assert len({row["observationID"] for row in rows}) == 3
    # The same people, read back into the same database, said nothing new.
    outcome = import_package(database.connection, tmp_path / "dp")
    assert (outcome.rows, outcome.new_rows, outcome.complete) == (3, 0, True)
