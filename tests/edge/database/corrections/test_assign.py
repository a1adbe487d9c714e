"""A person assigns frames to a camera: by folder, paths or time; it counts first, and it can be undone."""

from pathlib import Path
from typing import Any

import pytest

from edge.commands.db import main as edge_db
from edge.database.corrections.sites import Sites
from edge.database.events.table import rebuild_events
from edge.settings.deployment_table import Deployment
from edge.settings.options import Settings
from tests.support.database_by_hand import ByHand

CONFIGURED = Settings(deployments=(Deployment(id="ford", folder=Path("/frames/ford")),))


@pytest.fixture
def database(tmp_path: Path) -> ByHand:
    """Six frames an hour apart from 06:00 UTC (09:00 in Nairobi): three in each of two folders, all of no camera."""
    made = ByHand(tmp_path / "d.db", zone="Africa/Nairobi")
    made.deployment("ridge")
    made.deployment("ford")
    for number in range(6):
        folder = "ford/100CARD" if number < 3 else "ridge/101CARD"
        media = made.frame(3600 * number, "lion", path=f"/frames/{folder}/IMG_{number}.JPG")
        made.connection.execute(
            "INSERT INTO file SELECT path, 1, 1, id, received_at, NULL FROM media WHERE id = ?", (media,)
        )
    rebuild_events(made.connection)
    return made


def assign(database: ByHand, *arguments: str) -> int:
    return edge_db(["assign", "--db", str(database.path), "--by", "Ana", *arguments])


def deployments(database: ByHand) -> list[str | None]:
    return [name for (name,) in database.connection.execute("SELECT deployment FROM media ORDER BY id")]


def rows(database: ByHand, sql: str) -> list[tuple[Any, ...]]:
    return database.connection.execute(sql).fetchall()


def start(database: ByHand, settings: Settings = CONFIGURED) -> None:
    """What a start of edge-classify does with the configuration."""
    Sites(database.connection, settings).begin()


NONE = [None] * 3


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (["--folder", "/frames/ford"], ["ridge"] * 3 + NONE),
        (["--folder", "ford"], ["ridge"] * 3 + NONE),
        (["--folder", "ford/*CARD/"], ["ridge"] * 3 + NONE),
        (["--folder", "10[0-9]CARD", "--until", "2026-05-01T10:00"], ["ridge"] * 2 + [None] * 4),
        (["--from", "2026-05-01T13:00", "--until", "2026-05-01"], [None] * 4 + ["ridge"] * 2),
        (["--from", "2026-05-01T10:00:00Z"], [None] * 4 + ["ridge"] * 2),
        (["--of", "unnamed"], ["ridge"] * 6),
    ],
)
def test_frames_are_chosen_by_folder_and_time(database: ByHand, which: list[str], found: list[str | None]) -> None:
    assert assign(database, "ridge", *which) == 0
    assert deployments(database) == [None] * 6  # only shown
    assert assign(database, "ridge", *which, "--yes") == 0
    assert deployments(database) == found


def test_paths_of_a_list_that_name_no_frame_are_named(
    database: ByHand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbf/frames/ford/100CARD/IMG_0.JPG\r\n101CARD/IMG_4.JPG\r\n\r\nIMG_9.JPG\r\nIMG_?.JPG\r\n"
    )
    assert assign(database, "ridge", "--paths", str(tmp_path / "list.txt"), "--yes") == 1
    assert deployments(database) == ["ridge", None, None, None, "ridge", None]
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in said] == ["IMG_9.JPG", "IMG_?.JPG"]


def test_a_name_that_two_frames_share_means_neither(
    database: ByHand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.connection.execute("UPDATE file SET path = '/frames/ridge/101CARD/IMG_0.JPG' WHERE media = 4")
    (tmp_path / "list.txt").write_text("IMG_0.JPG\nford/100CARD/IMG_0.JPG\n")
    assert assign(database, "ridge", "--paths", str(tmp_path / "list.txt"), "--yes") == 1
    assert deployments(database) == ["ridge", *[None] * 5]


def test_a_persons_word_counts_before_the_configuration_until_it_is_undone(
    database: ByHand, capsys: pytest.CaptureFixture[str]
) -> None:
    start(database)
    assert deployments(database) == ["ford"] * 3 + NONE
    assign(database, "ridge", "--folder", "100CARD", "--yes", "--note", "cards were swapped")
    number = capsys.readouterr().out.split("--undo ")[1].split("`")[0]
    assert deployments(database) == ["ridge"] * 3 + NONE
    start(database)
    assert deployments(database) == ["ridge"] * 3 + NONE
    assert rows(database, "SELECT DISTINCT deployment FROM event ORDER BY 1") == [(None,), ("ridge",)]
    assert assign(database, "--undo", number) == 0
    assert deployments(database) == ["ford"] * 3 + NONE
    assert rows(database, "SELECT DISTINCT deployment FROM event ORDER BY 1") == [(None,), ("ford",)]
    audit = 'SELECT media, old, new, "by", note FROM correction WHERE undoes IS NULL AND "by" <> \'edge-classify\''
    assert rows(database, audit) == [(media, "ford", "ridge", "Ana", "cards were swapped") for media in (1, 2, 3)]


def test_undos_in_any_order_and_an_undo_undone(database: ByHand, capsys: pytest.CaptureFixture[str]) -> None:
    def number() -> str:
        return capsys.readouterr().out.split("--undo ")[1].split("`")[0]

    assign(database, "ridge", "--folder", "100CARD", "--yes")
    first = number()
    assign(database, "hill", "--folder", "100CARD", "--until", "2026-05-01T09:30", "--yes", "--new")
    second = number()
    assert deployments(database) == ["hill", "ridge", "ridge", *NONE]
    assign(database, "--undo", first)
    undo = number()
    assert deployments(database) == ["hill", *[None] * 5]
    assign(database, "--undo", second)
    capsys.readouterr()
    assert deployments(database) == [None] * 6
    assign(database, "--undo", undo)
    assert deployments(database) == ["ridge"] * 3 + NONE
    capsys.readouterr()
    assert assign(database, "--undo", second) == 2
    assert "is undone already" in capsys.readouterr().err


def test_frames_of_no_camera_join_the_events_of_theirs(database: ByHand) -> None:
    late = database.frame(600, "lion", camera="ridge", path="/frames/ridge/101CARD/IMG_7.JPG")
    rebuild_events(database.connection)
    assign(database, "ridge", "--folder", "ford", "--yes")
    of_late = f"SELECT media FROM event_media WHERE event = (SELECT event FROM event_media WHERE media = {late})"
    assert rows(database, of_late) == [(1,), (late,)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rigde", "--folder", "ford", "--yes"], "no deployment is called 'rigde' here; did you mean ridge?"),
        (["ridge"], "which frames?"),
        ([], "give either the ID of a deployment and which frames, or --undo NUMBER alone"),
        (["ridge", "--undo", "1"], "give either the ID"),
        (["ridge", "--folder", "hill"], "no frame matches"),
        (["ridge", "--from", "1.5.2026"], "'1.5.2026' is no time"),
        (["--undo", "77"], "77 is no assignment by a person"),
        (["ridge", "--folder", "ford", "--yes", "--by", "edge-classify"], "expected the name of a person"),
        (["ridge", "--paths", "/nowhere"], "No such file"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    database: ByHand, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assign(database, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert deployments(database) == [None] * 6
