"""Other models and settings add decisions; reports use the pinned ones until a person pins others."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.commands.classify import main as classify
from edge.commands.db import main as edge_db
from edge.commands.report import main as report
from edge.service.frame_processor import FrameProcessor
from tests.support.made_images import noisy_jpeg
from tests.support.signal_handlers import keep_signals
from tests.support.tiny_model import tiny_card, write_tiny_model

FRAMES = 40
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Run:
    """Classifies the folder `captures` into `d.db`; gives the exit code."""
    (tmp_path / "captures").mkdir()
    for number in range(FRAMES):
        taken = f"2026:05:{1 + number // 10:02} 08:00:{number % 10:02}"
        (tmp_path / "captures" / f"IMG_{number:04}.JPG").write_bytes(noisy_jpeg(number, taken))

    def once(*more: str, model: Path = tiny_model, source: str = "captures") -> int:
        with keep_signals():
            paths = [str(tmp_path / source), "--db", str(tmp_path / "d.db"), "--model", str(model)]
            return classify([*paths, "-q", "--min-free-bytes", "0", "--time-zone", "UTC", *more])

    return once


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "d.db")) as connection:
        return connection.execute(sql).fetchall()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def decisions(folder: Path, configuration: int, model: int = 1) -> list[tuple[Any, ...]]:
    columns = "media, kind, taxon, rank, reason, round(confidence, 2)"
    where = f"configuration = {configuration} AND model = {model}"
    return rows(folder, f"SELECT {columns} FROM observation WHERE {where} ORDER BY media")


def settings_of(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "c.toml").write_text(text)
    (folder / "list.txt").write_text("Aves\n")
    return "--config", str(folder / "c.toml")


OTHER_SETTINGS = ["[thresholds]\nspecies = 0.99\ngenus = 0.99\nfamily = 0.98\n", 'species_list = "list.txt"\n']


@pytest.mark.parametrize("text", OTHER_SETTINGS)
def test_other_thresholds_and_lists_are_decided_from_what_is_stored(
    tmp_path: Path, run: Run, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = settings_of(tmp_path, text)
    assert run(*other) == 0
    expected = decisions(tmp_path, 2)
    assert len(expected) == FRAMES
    (tmp_path / "d.db").unlink()
    run()
    before = decisions(tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(FrameProcessor, "process", None)
        assert run(*other, "--reclassify") == 0
        assert run(*other, "--reclassify") == 0
    found = decisions(tmp_path, 2)
    assert [row[:5] for row in found] == [row[:5] for row in expected]
    assert [row[5] for row in found] == pytest.approx([row[5] for row in expected], abs=0.011)
    assert decisions(tmp_path, 1) == before
    assert found != before
    assert rows(tmp_path, "SELECT DISTINCT configuration FROM detections d JOIN observation o ON o.id = d.observation"
    ) == [(1,)]  # fmt: skip
    candidates = "SELECT count(DISTINCT observation) FROM candidate WHERE observation > 40"
    assert rows(tmp_path, candidates) == [(FRAMES,)]


def test_frames_whose_files_are_gone_are_decided_too_and_other_folders_are_left_alone(tmp_path: Path, run: Run) -> None:
    run()
    shutil.rmtree(tmp_path / "captures")
    (tmp_path / "captures").mkdir()
    (tmp_path / "elsewhere").mkdir()
    other = settings_of(tmp_path, OTHER_SETTINGS[0])
    run(*other, "--reclassify", source="elsewhere")
    assert decisions(tmp_path, 2) == []
    run(*other, "--reclassify")
    assert len(decisions(tmp_path, 2)) == FRAMES


def test_what_changes_the_networks_outputs_reads_the_images(tmp_path: Path, run: Run) -> None:
    run()
    shutil.rmtree(tmp_path / "captures")
    (tmp_path / "captures").mkdir()
    run("--no-second-look", "--reclassify")
    assert decisions(tmp_path, 2) == []


def test_a_crop_that_was_not_classified_needs_the_image(tmp_path: Path, run: Run) -> None:
    calibration = tiny_card().calibration
    assert calibration.second_look is not None
    plan = replace(calibration.second_look, blank_weight=0.0)
    thresholds = {**calibration.thresholds, "blank": 0.1}
    card = replace(tiny_card(), calibration=replace(calibration, second_look=plan, thresholds=thresholds))
    model = write_tiny_model(tmp_path / "m.onnx", card)
    run(model=model)
    blanks = rows(tmp_path, "SELECT media FROM observation WHERE reason = 'blank'")
    assert blanks
    shutil.rmtree(tmp_path / "captures")
    (tmp_path / "captures").mkdir()
    run(*settings_of(tmp_path, "[thresholds]\nblank = 1.0\n"), "--reclassify", model=model)
    found = {media for media, *_ in decisions(tmp_path, 2)}
    assert found == set(range(1, FRAMES + 1)) - {media for (media,) in blanks}


def test_a_start_with_another_model_says_what_reports_use_and_changes_nothing(
    tmp_path: Path, run: Run, other_tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run()
    assert said(caplog) == []
    shown, events = "SELECT * FROM detections", "SELECT * FROM event"
    before = rows(tmp_path, shown), rows(tmp_path, events)
    other = write_tiny_model(tmp_path / "other.onnx", tiny_card("other", "2"), seed=3)
    run("--reclassify", model=other)
    command = "edge-db use-model other@2"
    assert said(caplog) == [f"{FRAMES} frames are answered by other@2, reports use tiny@1; pin other@2 with {command}"]
    assert (rows(tmp_path, shown), rows(tmp_path, events)) == before
    run()  # swapped back
    assert said(caplog) == []
    assert (rows(tmp_path, shown), rows(tmp_path, events)) == before
    run(*settings_of(tmp_path, OTHER_SETTINGS[0]))
    (line,) = said(caplog)
    assert line.startswith("0 frames are answered by tiny@1 (configuration 2), reports use tiny@1 (configuration 1);")
    assert line.endswith("with edge-db use-model tiny@1 --configuration 2")


def use_model(folder: Path, *arguments: str) -> int:
    return edge_db(["use-model", "--db", str(folder / "d.db"), "--by", "Ana", *arguments])


def test_a_pinned_model_counts_in_the_views_the_events_and_the_reports(
    tmp_path: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run()
    other = write_tiny_model(tmp_path / "other.onnx", tiny_card("other", "2"), seed=3)
    run("--reclassify", model=other)
    before = rows(tmp_path, "SELECT * FROM event")
    (tmp_path / "captures" / "late.jpg").write_bytes(noisy_jpeg(99, "2026:05:30 08:00:00"))
    run()
    assert use_model(tmp_path, "other@2") == 0
    assert f"reports use other@2, configuration 1 (all defaults): {FRAMES} frames" in capfd.readouterr().out
    by = "SELECT DISTINCT classified_by FROM detections WHERE media <= 40"
    assert rows(tmp_path, by) == [("other 2",)]
    assert rows(tmp_path, "SELECT * FROM event") != before
    assert rows(tmp_path, 'SELECT model, configuration, "by" FROM pin') == [(1, 1, "edge-classify"), (2, 1, "Ana")]
    assert report(["events", "--db", str(tmp_path / "d.db")]) == 0
    assert "1 frame was not answered by the pinned model and configuration" in capfd.readouterr().err
    assert use_model(tmp_path, "tiny") == 0
    assert report(["events", "--db", str(tmp_path / "d.db")]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny@1"], "'tiny@1' is one of 2 models: tiny@1 ("),
        (["tiny@9"], "no model is called 'tiny@9' here; there are: tiny@1 ("),
        (["lion"], "no model is called 'lion' here"),
        (["{sha256}", "--configuration", "7"], "did not run under configuration 7; it ran under 1 (all defaults)"),
    ],
)
def test_a_name_that_could_mean_several_models_is_refused_in_one_line(
    tmp_path: Path,
    run: Run,
    other_tiny_model: Path,
    arguments: list[str],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run()
    run(model=other_tiny_model)
    ((sha256,),) = rows(tmp_path, "SELECT sha256 FROM model WHERE id = 2")
    assert use_model(tmp_path, *(one.format(sha256=sha256[:10]) for one in arguments)) == 2
    error = capfd.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert use_model(tmp_path, sha256[:10]) == 0


def test_of_several_configurations_the_newest_is_pinned_unless_one_is_named(
    tmp_path: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    run()
    run(*settings_of(tmp_path, OTHER_SETTINGS[0]), "--reclassify")
    assert use_model(tmp_path, "tiny@1") == 0
    out = capfd.readouterr().out
    assert "reports use tiny@1, configuration 2 (family 0.98; genus 0.99; species 0.99)" in out
    assert "it also ran under configuration 1" in out
    assert use_model(tmp_path, "tiny@1", "--configuration", "1") == 0
    assert rows(tmp_path, "SELECT configuration FROM pin ORDER BY id") == [(1,), (2,), (1,)]
