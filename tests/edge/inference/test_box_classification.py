"""A detector before the classifier: known boxes in made frames are logged, counted and exported."""

import csv
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge.commands.classify import main
from edge.commands.report import main as report
from edge.image.box import Box
from edge.image.decode import DecodedFrame
from edge.image.exif import Exif
from edge.inference import box_classification as subjects
from edge.inference.card import DetectorLayout
from edge.inference.decision import Decider
from edge.inference.detector import MOST_BOXES, Detector
from edge.inference.model import Model, ModelError
from tests.support.daemon_process import DaemonProcess, wait_until
from tests.support.signal_handlers import keep_signals
from tests.support.tiny_detector import Drawn, write_colour_classifier, write_known_detector

RED, GREEN, BLUE, GREY = (230, 20, 20), (20, 230, 20), (20, 20, 230), (70, 70, 70)
LEFT, RIGHT = (0.1, 0.2, 0.35, 0.2 + 1 / 3), (0.6, 0.5, 0.85, 0.5 + 1 / 3)
"""Two squares of a frame of 640 x 480 px: left, top, right, bottom in fractions."""
Colour = tuple[int, int, int]
Run = Callable[..., int]


def scene(left: Colour = GREY, right: Colour = GREY, background: Colour = GREY) -> NDArray[np.uint8]:
    pixels = np.full((480, 640, 3), background, np.uint8)
    for (x, y, to_x, to_y), colour in ((LEFT, left), (RIGHT, right)):
        pixels[round(y * 480) : round(to_y * 480), round(x * 640) : round(to_x * 640)] = colour
    return pixels


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[:, :, ::-1])


def drawn(place: tuple[float, float, float, float], score: float, label: int = 0) -> Drawn:
    return (*place, score, label)


def in_letterbox(box: Drawn) -> Drawn:
    """Box of a 4 : 3 frame in a square input with grey bars above and below."""
    x, y, to_x, to_y, score, label = box
    return (x, 0.125 + 0.75 * y, to_x, 0.125 + 0.75 * to_y, score, label)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_classifier(tmp_path_factory.mktemp("model") / "colours.onnx")


@pytest.fixture
def run(tmp_path: Path, colours: Path) -> Run:
    """Classifies `tmp_path/captures` into `tmp_path/d.db`; gives the exit code."""

    def once(detector: Path | None, *more: str) -> int:
        chosen = [] if detector is None else ["--detector", str(detector)]
        with keep_signals():
            paths = [str(tmp_path / "captures"), "--db", str(tmp_path / "d.db"), "--model", str(colours)]
            return main([*paths, "-q", "--min-free-bytes", "0", *chosen, *more])

    return once


def rows(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        return connection.execute(sql).fetchall()


BOXES = """SELECT subject, kind, taxon, count, confidence, box_x, box_y, box_width, box_height, box_source
FROM observation"""
FOUND = [drawn(LEFT, 0.9), drawn(RIGHT, 0.6), drawn((0.4, 0.1, 0.5, 0.4), 0.5, 1), drawn((0.0, 0.8, 0.2, 1.0), 0.3, 2)]


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("layout", ["yolov5", "yolov9", "yolov10", "rtdetr"])
def test_every_box_is_a_row_with_its_own_decision(layout: DetectorLayout, fit: str, tmp_path: Path, run: Run) -> None:
    weak = drawn((0.7, 0.1, 0.8, 0.2), 0.15)
    boxes = [in_letterbox(box) if fit == "letterbox" else box for box in (weak, *reversed(FOUND))]
    detector = write_known_detector(tmp_path / "boxes.onnx", boxes, layout, fit)
    save(tmp_path / "captures" / "a.png", scene(RED, RED))
    assert run(detector) == 0
    found = rows(tmp_path, f"{BOXES} ORDER BY subject")
    roe = "Capreolus capreolus"
    assert [row[:4] for row in found] == [
        (0, "animal", roe, 2),
        (1, "animal", roe, 1),
        (2, "animal", roe, 1),
        (3, "human", None, 1),
        (4, "vehicle", None, 1),
    ]
    assert found[0][5:] == (None,) * 5
    for row, (x, y, to_x, to_y, score, _) in zip(found[1:], FOUND, strict=True):
        np.testing.assert_allclose(row[5:9], (x, y, to_x - x, to_y - y), atol=1e-5)
        assert row[9] == "detector"
        assert row[4] == pytest.approx(score, rel=0.01)  # the classifier is sure of red
    assert rows(tmp_path, "SELECT count, taxon FROM detections") == [(2, roe)]
    assert rows(tmp_path, "SELECT count(*) FROM observation WHERE log_probabilities IS NOT NULL") == [(3,)]


def test_the_square_around_a_box_is_classified(tmp_path: Path, colours: Path) -> None:
    detector = Detector(write_known_detector(tmp_path / "boxes.onnx", [drawn((0.1, 0.2, 0.2, 0.2 + 1 / 3), 0.8)]))
    model = Model(colours)
    pixels = scene(RED)
    pixels[:, :64] = GREEN  # within the square, outside of the box
    answer = subjects.classify_boxes(detector, model, Decider(model.card), DecodedFrame(pixels, 640, 480, Exif()))
    side = 160 * 1.2
    left, top = 96 - side / 2, 176 - side / 2
    cut = pixels[int(top) : round(top + side), int(left) : round(left + side)].astype(float).mean((0, 1)) / 255
    logits = np.array([24 * cut[0], 24 * cut[1], -9, -9, 24 * cut[2]])
    expected = np.exp(logits) / np.exp(logits).sum()  # given that it is an animal
    found = answer.subjects[0]
    assert found.log_probabilities is not None
    np.testing.assert_allclose(np.exp(found.log_probabilities[:5]), expected, atol=0.02)
    assert np.exp(found.log_probabilities[5]) == 0
    assert found.decision.confidence == pytest.approx(0.8 * expected.max(), abs=0.02)
    assert answer.decision.taxon == found.decision.taxon
    assert answer.decision.confidence == pytest.approx(found.decision.confidence)


def test_a_frame_with_two_species_is_of_the_taxon_that_holds_both(tmp_path: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9), drawn(RIGHT, 0.8)])
    save(tmp_path / "captures" / "deer.png", scene(RED, GREEN))
    save(tmp_path / "captures" / "other.png", scene(RED, BLUE))
    assert run(detector) == 0
    sql = """SELECT o.subject, o.taxon, o.reason, o.count FROM observation o JOIN media m ON m.id = o.media
             WHERE m.path LIKE ? ORDER BY 1"""
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        deer, other = (connection.execute(sql, (f"%{name}.png",)).fetchall() for name in ("deer", "other"))
    assert deer[0] == (0, "Cervidae", "rolled_up", 2)
    assert deer[1:] == [(1, "Capreolus capreolus", "confident", 1), (2, "Cervus elaphus", "confident", 1)]
    assert other[0] == (0, "Animalia", "rolled_up", 2)
    assert [row[1] for row in other[1:]] == ["Capreolus capreolus", "Strix aluco"]


def test_a_frame_without_boxes_is_blank_as_sure_as_the_strongest_was_weak(tmp_path: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9)])
    save(tmp_path / "captures" / "dark.png", scene((30, 9, 9), (9, 9, 9), (9, 9, 9)))
    assert run(detector) == 0
    assert rows(tmp_path, f"{BOXES}") == [(0, "blank", None, None, pytest.approx(0.91, abs=1e-5), *[None] * 5)]
    assert rows(tmp_path, "SELECT reason, log_probabilities FROM observation") == [("blank", None)]
    config = tmp_path / "strict.toml"
    config.write_text("[thresholds]\nblank = 0.95\n")
    (tmp_path / "d.db").unlink()
    assert run(detector, "--config", str(config)) == 0
    assert rows(tmp_path, "SELECT kind, reason FROM observation") == [("unknown", "below_threshold")]
    config.write_text("[thresholds]\ndetection = 0.05\n")
    (tmp_path / "d.db").unlink()
    assert run(detector, "--config", str(config)) == 0
    assert rows(tmp_path, "SELECT kind, count FROM detections") == [("animal", 1)]


def test_a_near_animal_decides_rather_than_a_far_one(tmp_path: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9), drawn(RIGHT, 0.8)])
    save(tmp_path / "captures" / "a.png", scene(RED, GREY))  # grey could be any of three
    assert run(detector) == 0
    found = rows(tmp_path, "SELECT subject, taxon, count FROM observation ORDER BY subject")
    assert found == [(0, "Capreolus capreolus", 2), (1, "Capreolus capreolus", 1), (2, "Cervidae", 1)]


def test_a_person_stronger_than_the_animal_is_what_the_frame_shows(tmp_path: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.5), drawn(RIGHT, 0.7, 1)])
    save(tmp_path / "captures" / "a.png", scene(RED))
    assert run(detector) == 0
    assert rows(tmp_path, f"{BOXES} WHERE subject = 0")[0][:4] == (0, "human", None, 1)
    boxes = rows(tmp_path, "SELECT kind FROM observation WHERE subject > 0 ORDER BY subject")
    assert boxes == [("human",), ("animal",)]


def test_the_run_names_its_detector_and_another_one_classifies_again(tmp_path: Path, colours: Path, run: Run) -> None:
    first = write_known_detector(tmp_path / "first.onnx", [drawn(LEFT, 0.9)], name="first")
    second = write_known_detector(tmp_path / "second.onnx", [drawn(LEFT, 0.9), drawn(RIGHT, 0.9)], name="second")
    save(tmp_path / "captures" / "a.png", scene(RED, RED))
    assert run(None) == 0
    assert run(first) == 0  # the frame is logged already
    assert run(first, "--reclassify") == 0
    assert run(second, "--reclassify") == 0
    assert run(second, "--reclassify") == 0  # by the second detector too
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (colours, first, second)]
    settings = [json.loads(text) for (text,) in rows(tmp_path, "SELECT settings FROM run ORDER BY id")]
    assert "detector_sha256" not in settings[0]
    named = [(run["detector"], run["detector_sha256"]) for run in settings[2:4]]
    assert named == [(str(first), sums[1]), (str(second), sums[2])]
    assert rows(tmp_path, "SELECT sha256, name FROM model ORDER BY id") == [(sums[0], "colours")]
    documents = [json.loads(text) for (text,) in rows(tmp_path, "SELECT document FROM configuration ORDER BY id")]
    assert documents == [{}, {"detector": sums[1]}, {"detector": sums[2]}]
    counts = dict(rows(tmp_path, "SELECT classified_by, count(*) FROM observation GROUP BY 1"))
    assert counts == {"colours 1": 1, "first 1 + colours 1": 2, "second 1 + colours 1": 3}
    assert rows(tmp_path, "SELECT classified_by FROM detections") == [("colours 1",)]  # what came first is pinned


def test_a_file_that_is_no_detector_is_refused_in_one_line(
    tmp_path: Path, colours: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9)])
    save(tmp_path / "captures" / "a.png", scene(RED))
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    for file, expected in (
        (colours, "its card says that it classifies"),
        (text, "ONNX Runtime cannot load it"),
        (tmp_path / "none.onnx", "cannot be read (No such file or directory)"),
    ):
        assert run(file) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"edge-classify: {file}: ")
        assert expected in line
    with keep_signals():
        assert main([str(tmp_path / "captures"), "--model", str(detector), "--db", str(tmp_path / "d.db")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it detects; give it to --detector" in line
    with pytest.raises(ModelError, match="give it to --detector"):
        edge.Classifier(detector)


def test_the_python_interface_takes_a_detector(tmp_path: Path, colours: Path) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9)])
    save(tmp_path / "a.png", scene(RED))
    assert edge.Classifier(colours, detector=detector).classify(tmp_path / "a.png").taxon == "Capreolus capreolus"


def test_worker_processes_log_the_same_boxes_as_threads(tmp_path: Path, colours: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", FOUND)
    for number, colour in enumerate((RED, GREEN, BLUE)):
        save(tmp_path / "captures" / f"{number}.png", scene(colour))
    save(tmp_path / "captures" / "dark.png", scene((9, 9, 9), (9, 9, 9), (9, 9, 9)))
    assert run(detector, "--threads", "3") == 0
    by_threads = rows(tmp_path, f"{BOXES} ORDER BY media, subject")
    (tmp_path / "d.db").unlink()
    command = [sys.executable, "-m", "edge.commands.classify", str(tmp_path / "captures"), "-q"]
    options = f"--db {tmp_path / 'd.db'} --model {colours} --detector {detector} --workers 2 --min-free-bytes 0"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [*command, *options.split()], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path, f"{BOXES} ORDER BY media, subject") == by_threads
    assert len(by_threads) == 3 * 5 + 1


def test_the_daemon_keeps_its_detector_when_the_classifier_is_changed(tmp_path: Path, colours: Path) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", [drawn(LEFT, 0.9)])
    model = tmp_path / "model.onnx"
    model.write_bytes(colours.read_bytes())
    daemon = DaemonProcess(tmp_path, model)
    daemon.captures.mkdir()

    def arrive(name: str, colour: Colour) -> None:
        save(tmp_path / name, scene(colour))
        (tmp_path / name).rename(daemon.captures / name)
        wait_for_rows(daemon, f"%{name}")

    daemon.start("--detector", str(detector))
    try:
        daemon.wait_for_log("watching")
        arrive("a.png", RED)
        write_colour_classifier(tmp_path / "new", replace(Model(colours).card, version="2")).replace(model)
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGHUP)
        daemon.wait_for_log("boxes 1 + colours 2 from now on")
        arrive("b.png", BLUE)
        write_known_detector(tmp_path / "new", [drawn(LEFT, 0.9), drawn(RIGHT, 0.8)], name="more").replace(detector)
        daemon.wait_for_log("more 1 + colours 2 from now on")  # the daemon notices the new file
        arrive("c.png", GREEN)
        daemon.stop()
    finally:
        daemon.kill()
    expected = [("boxes 1 + colours 1", 2), ("boxes 1 + colours 2", 2), ("more 1 + colours 2", 3)]
    assert daemon.query("SELECT classified_by, count(*) FROM observation GROUP BY 1 ORDER BY 1") == expected


def test_a_detector_with_too_many_boxes_costs_no_more_than_its_limit(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 0.9, (1000, 2))
    boxes = [(x, y, x + 0.08, y + 0.08, 0.3 + n / 2000, 0) for n, (x, y) in enumerate(corners.tolist())]
    detector = Detector(write_known_detector(tmp_path / "boxes.onnx", boxes, "rtdetr"))
    model, sizes = Model(colours), []
    run = model.run

    def counted(pixels: NDArray[np.uint8]) -> Any:
        sizes.append(len(pixels))
        return run(pixels)

    monkeypatch.setattr(model, "run", counted)
    answer = subjects.classify_boxes(detector, model, Decider(model.card), DecodedFrame(scene(RED), 640, 480, Exif()))
    assert len(answer.subjects) == MOST_BOXES == sum(sizes)
    assert max(sizes) <= 8


CORNERS = [Box(0, 0, 0.01, 0.01), Box(0.9, 0.9, 0.1, 0.1), Box(0, 0.4, 1, 0.2), Box(0, 0, 1, 1)]


@pytest.mark.parametrize("place", CORNERS)
def test_the_surroundings_of_a_box_lie_inside_the_frame_and_hold_it(place: Box) -> None:
    around = subjects.crop_of(place, 480, 640)
    assert around.x >= 0
    assert around.y >= 0
    assert around.x + around.width <= 1 + 1e-9
    assert around.y + around.height <= 1 + 1e-9
    assert around.x <= place.x + 1e-9
    assert around.x + around.width >= place.x + place.width - 1e-9
    assert around.y <= place.y + 1e-9
    assert around.y + around.height >= place.y + place.height - 1e-9


def test_reports_count_and_export_the_boxes(tmp_path: Path, run: Run) -> None:
    detector = write_known_detector(tmp_path / "boxes.onnx", FOUND)
    captures = tmp_path / "captures"
    for number in range(2):
        save(captures / f"{number}.png", scene(RED, (230, 20, 20 + number)))
        os.utime(captures / f"{number}.png", (1_750_000_000 + 60 * number,) * 2)
    save(captures / "person.png", scene(background=(60, 60, 70)))
    os.utime(captures / "person.png", (1_750_000_000 + 9000,) * 2)
    config = tmp_path / "survey.toml"
    config.write_text(
        '[project]\ntitle = "Fords"\ncontributors = [{title = "A. Ranger", role = "contact"}]\n'
        'sampling_design = "opportunistic"\ncapture_method = "activityDetection"\n'
        "[deployment.ford]\nlatitude = 1.0\nlongitude = 36.0\n"
    )
    assert run(detector, "--config", str(config), "--deployment", "ford") == 0
    common = ["--db", str(tmp_path / "d.db"), "--config", str(config)]
    for form, out in (("csv", "t.csv"), ("events", "e.csv"), ("camtrap-dp", "package"), ("megadetector", "md.json")):
        assert report([form, *common, "--out", str(tmp_path / out)]) == 0
    table = list(csv.DictReader((tmp_path / "t.csv").read_text("utf-8").splitlines()))
    assert [line["count"] for line in table] == ["2", "2", "2"]
    events = list(csv.DictReader((tmp_path / "e.csv").read_text("utf-8").splitlines()))
    assert ("Capreolus capreolus", "2") in [(line["scientific_name"], line["count"]) for line in events]
    observations = list(csv.DictReader((tmp_path / "package" / "observations.csv").read_text("utf-8").splitlines()))
    media = [line for line in observations if line["observationLevel"] == "media"]
    assert [line["bboxX"] for line in media][:2] == ["0.1", "0.6"]
    assert {line["count"] for line in media if line["observationType"] == "animal"} == {"1"}
    images = json.loads((tmp_path / "md.json").read_text())["images"]
    for image in images:
        assert [detection["category"] for detection in image["detections"]] == ["1", "1", "2", "3"]
        np.testing.assert_allclose([d["conf"] for d in image["detections"][2:]], [0.5, 0.3], atol=1e-4)
        np.testing.assert_allclose(image["detections"][2]["bbox"], [0.4, 0.1, 0.1, 0.3], atol=1e-4)


def wait_for_rows(daemon: DaemonProcess, path: str) -> None:
    sql = f"SELECT count(*) FROM observation o JOIN media m ON m.id = o.media WHERE m.path LIKE '{path}'"
    wait_until(lambda: daemon.query(sql)[0][0] != 0, 60, daemon.log)
