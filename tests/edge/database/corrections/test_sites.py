"""Frames follow the configuration and the place of their files, and a person's assignment before both."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.commands.classify import main
from edge.database.corrections.sites import distance_m
from edge.database.schema import open_database
from tests.support.made_images import noisy_jpeg
from tests.support.signal_handlers import keep_signals

Run = Callable[..., int]
RIDGE = '[deployment.ridge]\nfolder = "captures/ridge"\nlatitude = -1.5\nlongitude = 36.5\n'
FORD = '[deployment.ford]\nfolder = "captures/ford"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cameras' folders with one frame each, a day apart."""
    for number, camera in enumerate(("ford", "ridge"), 1):
        card = tmp_path / "captures" / camera / "100CARD"
        card.mkdir(parents=True)
        (card / f"IMG_000{number}.JPG").write_bytes(noisy_jpeg(number, f"2026:05:0{number} 08:00:00"))
    return tmp_path


@pytest.fixture
def run(folder: Path, tiny_model: Path) -> Run:
    """Classifies the folder `captures` into `d.db` by a configuration; gives the exit code."""

    def once(configuration: str, *more: str, sources: tuple[str, ...] = ("captures",)) -> int:
        (folder / "c.toml").write_text(f'time_zone = "UTC"\n{configuration}')
        with keep_signals():
            paths = [str(folder / source) for source in sources]
            settings = ["--db", str(folder / "d.db"), "--model", str(tiny_model), "--config", str(folder / "c.toml")]
            return main([*paths, *settings, "-q", "--min-free-bytes", "0", *more])

    return once


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "d.db")) as connection:
        return connection.execute(sql).fetchall()


def deployments(folder: Path) -> list[str | None]:
    """The deployments of the frames, in the order in which they came; their events agree."""
    of_events = "SELECT e.deployment FROM event e JOIN event_media m ON m.event = e.id ORDER BY m.media"
    kinds = "SELECT m.deployment FROM detections d JOIN media m ON m.id = d.media WHERE d.kind <> 'blank' ORDER BY m.id"
    assert rows(folder, of_events) == rows(folder, kinds)
    return [name for (name,) in rows(folder, "SELECT deployment FROM media ORDER BY id")]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_frames_logged_before_their_camera_was_configured_follow(
    folder: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run("")
    assert deployments(folder) == [None, None]
    run(RIDGE)
    assert said(caplog) == ["1 frame assigned by the configuration: 1 from no deployment to ridge"]
    assert deployments(folder) == [None, "ridge"]
    run(RIDGE)
    assert said(caplog) == []
    audit = 'SELECT media, field, old, new, "by" FROM correction'
    assert rows(folder, audit) == [(2, "deployment", None, "ridge", "edge-classify")]


def test_a_table_with_another_name_renames_the_camera_of_its_frames(folder: Path, run: Run) -> None:
    run(FORD + RIDGE)
    run(FORD + RIDGE.replace("deployment.ridge", "deployment.ridge-2"))
    assert deployments(folder) == ["ford", "ridge-2"]


def test_files_moved_below_another_cameras_folder_follow(
    folder: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(FORD + RIDGE)
    shutil.move(folder / "captures/ford/100CARD", folder / "captures/ridge/101CARD")
    run(FORD + RIDGE)
    assert deployments(folder) == ["ridge", "ridge"]
    assert said(caplog)[-1] == "1 frame assigned by the configuration: 1 from ford to ridge"
    shutil.move(folder / "captures/ridge/101CARD", folder / "captures/ford/100CARD")
    run(FORD + RIDGE)
    assert deployments(folder) == ["ford", "ridge"]


def test_one_content_in_two_cameras_folders_stays_with_the_first_and_is_named(
    folder: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(FORD + RIDGE)
    shutil.copytree(folder / "captures/ford/100CARD", folder / "captures/ridge/101CARD")
    for _ in range(2):
        run(FORD + RIDGE)
        (line,) = said(caplog)
        assert "1 frame with files in two deployments' folders stay with the first" in line
        assert "ford/100CARD/IMG_0001.JPG stays with ford, a copy lies in the folder of ridge" in line
        assert deployments(folder) == ["ford", "ridge"]
    (folder / "captures/ford/100CARD/IMG_0001.JPG").unlink()
    run(FORD + RIDGE)
    assert deployments(folder) == ["ridge", "ridge"]


def test_a_folder_that_is_not_mounted_changes_nothing(folder: Path, run: Run) -> None:
    run(FORD + RIDGE)
    shutil.move(folder / "captures/ford", folder / "captures/ridge/copy of ford")
    run(FORD + RIDGE)
    assert deployments(folder) == ["ford", "ridge"]


def test_a_pruned_file_changes_nothing(folder: Path, run: Run) -> None:
    run(FORD + RIDGE)
    path = folder / "captures/ford/100CARD/IMG_0001.JPG"
    shutil.copy(path, folder / "captures/ridge/copy.jpg")
    path.unlink()
    with closing(open_database(folder / "d.db")) as connection:
        connection.execute("INSERT INTO pruned VALUES (1, ?, '', '')", (str(path),))
    run(FORD + RIDGE)
    assert deployments(folder) == ["ford", "ridge"]


def test_a_file_outside_every_folder_keeps_its_deployment(folder: Path, run: Run) -> None:
    run(FORD + RIDGE)
    shutil.move(folder / "captures/ford/100CARD/IMG_0001.JPG", folder / "captures/archive.jpg")
    run(FORD + RIDGE)
    assert deployments(folder) == ["ford", "ridge"]
    run(RIDGE)  # its table was taken out of the configuration
    assert deployments(folder) == ["ford", "ridge"]


def test_frames_of_two_periods_in_one_folder_are_parted_when_the_second_is_configured(folder: Path, run: Run) -> None:
    shutil.move(folder / "captures/ford/100CARD/IMG_0001.JPG", folder / "captures/ridge")
    run(RIDGE)
    assert deployments(folder) == ["ridge", "ridge"]
    later = RIDGE.replace("deployment.ridge", "deployment.later") + "start = 2026-05-02\n"
    run(RIDGE + "end = 2026-05-01\n" + later)
    assert sorted(deployments(folder), key=str) == ["later", "ridge"]
    found = rows(folder, "SELECT deployment, captured_at FROM media ORDER BY captured_at")
    assert found == [("ridge", "2026-05-01T08:00:00.000Z"), ("later", "2026-05-02T08:00:00.000Z")]


def test_a_frame_outside_every_period_of_its_folder_has_no_deployment(folder: Path, run: Run) -> None:
    later = RIDGE.replace("deployment.ridge", "deployment.later") + "start = 2026-06-01\n"
    run(RIDGE + "end = 2026-05-01\n" + later)
    assert deployments(folder) == [None, None]


def test_the_flag_is_for_frames_without_a_deployment(folder: Path, run: Run) -> None:
    run(RIDGE)
    assert deployments(folder) == [None, "ridge"]
    run("", "--deployment", "hill", sources=("captures/ridge", "captures/ford"))
    assert deployments(folder) == ["hill", "ridge"]
    run(FORD)
    assert deployments(folder) == ["ford", "ridge"]
    run("", "--deployment", "valley")
    assert deployments(folder) == ["ford", "ridge"]


def test_first_folders_become_cameras_and_files_moved_between_them_follow(folder: Path, run: Run) -> None:
    run("")
    one_line = 'deployment_from = "folder"\n'
    run(one_line + "[deployment.ford]\nlatitude = 1\nlongitude = 2\n")
    assert deployments(folder) == ["ford", "ridge"]
    known = rows(folder, "SELECT id, latitude, folder FROM deployment ORDER BY id")
    assert known == [("ford", 1, None), ("ridge", None, str(folder / "captures/ridge"))]
    (folder / "captures/new").mkdir()
    shutil.move(folder / "captures/ford/100CARD", folder / "captures/new")
    (folder / "captures/new/IMG_0003.JPG").write_bytes(noisy_jpeg(3, "2026:05:03 08:00:00"))
    run(one_line)
    assert deployments(folder) == ["new", "ridge", "new"]
    run(one_line, sources=("captures/ridge",))  # its first folder is no camera of its own
    assert deployments(folder) == ["new", "ridge", "new"]


def test_what_the_configuration_says_of_a_camera_is_corrected_and_noted(
    folder: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(RIDGE)
    assert run(RIDGE.replace("36.5", "36.6") + 'time_zone = "Africa/Nairobi"\nend = 2026-06-01\n') == 0
    (line,) = said(caplog)
    assert line == "deployment ridge corrected by the configuration: longitude 36.5 to 36.6, 11,116 m away"
    audit = rows(folder, "SELECT deployment, field, old, new FROM correction WHERE media IS NULL ORDER BY id")
    assert audit == [
        ("ridge", "longitude", "36.5", "36.6"),
        ("ridge", "time_zone", None, "Africa/Nairobi"),
        ("ridge", "end", None, "2026-06-01"),
    ]
    run('[deployment.ridge]\nfolder = "captures/ridge"\n')
    assert rows(folder, "SELECT longitude FROM deployment") == [(36.6,)]


def test_a_folder_that_holds_no_file_is_said(folder: Path, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run(RIDGE.replace("captures/", "capture/"))
    (line,) = said(caplog)
    assert line.startswith(f"no file lies in the folder of ridge ({folder}/capture/ridge); check `folder`")


def test_names_that_are_no_text_follow_too(folder: Path, run: Run) -> None:
    card = folder / "captures" / "ridge" / "b\udce9ta"
    card.mkdir()
    (card / "IMG\udcff.JPG").write_bytes(noisy_jpeg(7, "2026:05:09 08:00:00"))
    run("")
    run(RIDGE + FORD)
    assert deployments(folder) == ["ford", "ridge", "ridge"]
    run('deployment_from = "folder"\n', sources=("captures/ridge",))
    assert deployments(folder) == ["ford", "ridge", "ridge"]


def test_distance() -> None:
    assert distance_m((0.0, 179.5), (0.0, -179.5)) == pytest.approx(111_195, abs=1)
    assert distance_m((-1.5, 36.5), (-1.5, 36.5)) == 0.0
