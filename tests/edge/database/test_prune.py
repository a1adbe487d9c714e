"""`edge-db prune` keeps whatever is rare by any measure, and refuses to guess how much may go."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from edge.commands.db import main as edge_db
from edge.database.prune import PruneRules, prune
from edge.database.schema import open_database
from tests.support.frames_on_disk import ALL, Camera


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    """Six impalas in a row at the ridge: ids 1 to 6."""
    made = Camera(tmp_path)
    for number in range(6):
        made.frame(number * 3600, "impala", 0.5 + number / 20)
    return made


def test_the_first_and_the_last_frame_of_a_taxon_at_a_camera_stay(camera: Camera) -> None:
    there = [camera.frame(seconds, "impala", camera="ford") for seconds in (500, 100, 900)]
    assert camera.may_go() == {2, 3, 4, 5, there[0]}


def test_what_is_gone_already_is_not_the_frame_that_is_kept(camera: Camera) -> None:
    (camera.folder / "IMG_0001.JPG").unlink()
    (camera.folder / "IMG_0006.JPG").write_bytes(b"another frame in its place")
    assert camera.may_go() == {3, 4}


@pytest.mark.parametrize("said", ["impala", "human", "unknown"])
def test_what_a_person_named_stays(camera: Camera, said: str) -> None:
    camera.database.answer(3, said, by="Ana")
    assert camera.may_go() == {2, 4, 5}


def test_what_a_person_called_blank_stays(camera: Camera) -> None:
    blank = camera.frame(99000, "blank")
    assert blank in camera.may_go()
    camera.database.answer(blank, "blank", by="Ana")
    assert blank not in camera.may_go()


def test_a_line_of_an_act_that_is_not_the_first_counts(camera: Camera) -> None:
    camera.database.answer(3, "blank", by="Ana")
    camera.database.answer(3, "leopard", by="Ana")
    assert 3 not in camera.may_go()


def test_a_withdrawn_label_protects_too(camera: Camera) -> None:
    camera.database.answer(3, "leopard", by="Ana")
    (row,) = camera.database.connection.execute("SELECT id FROM observation WHERE method = 'human'").fetchone()
    camera.database.answer(3, "leopard", by="undo", withdraws=row)
    assert 3 not in camera.may_go()


def test_a_rare_animal_in_a_bounding_box_protects_its_frame(camera: Camera) -> None:
    camera.database.answer(3, "impala", subject=1, box=(0, 0, 0.5, 0.5))
    for media in (3, 4, 5):
        camera.database.answer(media, "leopard", subject=2, box=(0, 0, 0.5, 0.5))
    assert camera.may_go(PruneRules(keep_best=0, rare=3, unknown_too=True)) == {2}
    assert camera.may_go(PruneRules(keep_best=0, rare=2, unknown_too=True)) == {2, 4}


def test_an_imported_box_of_an_animal_protects_a_blank_frame(camera: Camera) -> None:
    blank = [camera.frame(50000 + number, "blank") for number in range(3)]
    camera.database.answer(
        blank[1], "animal", model=None, configuration=None, subject=1, box=(0, 0, 1, 1), classified_by="MegaDetector 5"
    )
    assert set(blank) & camera.may_go(PruneRules(rare=1)) == {blank[0], blank[2]}


def test_an_undecided_frame_with_a_likely_rare_candidate_stays(camera: Camera) -> None:
    likely, unlikely, common, first = (camera.frame(50000 + n, "unknown", 0.2) for n in range(4))
    for media, what, probability, place in (
        (likely, "leopard", 0.3, 2),
        (unlikely, "leopard", 0.05, 2),
        (common, "impala", 0.4, 2),
        (first, "leopard", 0.08, 1),
        (2, "impala", 0.9, 1),
    ):
        camera.candidate(media, what, probability, place)
    assert camera.may_go(PruneRules(keep_best=0, rare=5, unknown_too=True)) == {3, 4, 5, unlikely, common}
    assert not {likely, unlikely, common, first} & camera.may_go(PruneRules(keep_best=0, rare=5))


def test_a_frame_of_every_candidate_taxon_stays(camera: Camera) -> None:
    camera.candidate(3, "caracal", 0.02, 5)
    camera.candidate(4, "caracal", 0.01, 5)
    assert camera.may_go() == {2, 4, 5}
    (camera.folder / "IMG_0003.JPG").unlink()
    assert camera.may_go() == {2, 5}


def test_the_pinned_model_decides_what_is_rare(camera: Camera) -> None:
    camera.database.new_model(2)
    for media in range(1, 7):
        camera.database.answer(media, "leopard" if media == 3 else "impala", 0.9)
    rules = PruneRules(keep_best=0, rare=1, unknown_too=True)
    assert 3 in camera.may_go(rules)
    camera.database.connection.execute("INSERT INTO pin (model, configuration, at, \"by\") VALUES (2, 1, '', 'Ana')")
    assert 3 not in camera.may_go(rules)


def test_a_label_that_comes_while_files_are_deleted_protects(camera: Camera) -> None:
    with closing(open_database(camera.database.path)) as connection:
        going = prune(connection, ALL, delete=True)
        assert next(going)[0].media == 2
        camera.database.answer(4, "leopard", by="Ana")
        assert [candidate.media for candidate, _ in going] == [3, 5]
    assert (camera.folder / "IMG_0004.JPG").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--yes"],
        ["--rare", "3", "--unknown-too", "--yes"],
        ["--older-than-days", "nan"],
        ["--older-than-days", "inf", "--yes"],
        ["--older-than-days", "-1"],
        ["--free-bytes", "nan"],
        ["--free-bytes=-5"],
        ["--keep-best", "-1"],
        ["--keep-best", "1", "--rare=-3"],
    ],
)
def test_without_a_limit_that_makes_sense_nothing_goes(
    camera: Camera, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(os.listdir(camera.folder))
    try:
        code = edge_db(["prune", "--db", str(camera.database.path), *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err
    assert sorted(os.listdir(camera.folder)) == before
