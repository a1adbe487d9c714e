"""A name from elsewhere means a frame only when both agree as far as both go."""

import unicodedata
from pathlib import Path

import pytest

from edge.database.imports.file_matching import FileEntry, Frames, Matches
from tests.support.database_by_hand import ByHand

CAP = ("/cap/SiteA/IMG_0001.JPG", "/cap/SiteA/IMG_0002.JPG", "/cap/SiteC/CamA/IMG_0001.JPG")


def found(folder: Path, paths: tuple[str, ...], *names: str | FileEntry, strip: str = "") -> list[str | None]:
    """The path of the frame of each name."""
    frames, matches = matched(folder, paths, *names, strip=strip)
    return [None if media is None else frames.path_of(media) for media in matches.media]


def matched(folder: Path, paths: tuple[str, ...], *names: str | FileEntry, strip: str = "") -> tuple[Frames, Matches]:
    database = ByHand(folder / "d.db")
    for path in paths:
        database.frame(0, "impala", path=path)
    frames = Frames(database.connection)
    return frames, frames.match([FileEntry(n) if isinstance(n, str) else n for n in names], strip)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SiteA/IMG_0001.JPG", CAP[0]),
        ("cap\\SiteA\\IMG_0001.JPG", CAP[0]),
        ("./sitea/img_0001.jpg", CAP[0]),
        ("/cap/SiteA/IMG_0001.JPG", CAP[0]),
        ("D:/backup/cap/SiteA/IMG_0001.JPG", CAP[0]),
        ("IMG_0002.JPG", CAP[1]),
        ("SiteB/IMG_0001.JPG", None),
        ("SiteB/IMG_0002.JPG", None),
        ("IMG_0001.JPG", None),
        ("SiteA/IMG_0003.JPG", None),
        ("", None),
    ],
)
def test_one_name(tmp_path: Path, name: str, meant: str | None) -> None:
    assert found(tmp_path, CAP, name) == [meant]


def test_a_root_that_all_names_share_stands_for_ours(tmp_path: Path) -> None:
    names = ("C:\\Users\\ana\\study\\SiteA\\IMG_0001.JPG", "C:\\Users\\ana\\study\\SiteB\\IMG_0002.JPG")
    assert found(tmp_path, CAP, *names) == [CAP[0], None]


def test_a_site_is_no_root(tmp_path: Path) -> None:
    # All of the import is of another site, whose camera counts as ours does.
    assert found(tmp_path, CAP[:2], "SiteB/IMG_0001.JPG", "SiteB/IMG_0002.JPG") == [None, None]


def test_folders_that_every_camera_makes_tell_nothing(tmp_path: Path) -> None:
    ours = ("/cap/SiteA/100MEDIA/IMG_0001.JPG", "/cap/SiteA/101MEDIA/IMG_0001.JPG")
    theirs = ("/ana/SiteB/100MEDIA/IMG_0001.JPG", "/ana/SiteB/101MEDIA/IMG_0001.JPG")
    assert found(tmp_path, ours, *theirs) == [None, None]


def test_names_with_folders_show_where_bare_names_lie(tmp_path: Path) -> None:
    ours = ("/cap/IMG_0001.JPG", "/cap/SiteA/IMG_0001.JPG", "/cap/SiteA/IMG_0002.JPG", "/cap/x/IMG_0009.JPG")
    names = ("SiteA/IMG_0002.JPG", "IMG_0001.JPG", "SiteA/IMG_0001.JPG", "IMG_0009.JPG")
    assert found(tmp_path, ours, *names) == [ours[2], ours[0], ours[1], None]


def test_two_names_of_one_frame_mean_none(tmp_path: Path) -> None:
    _, matches = matched(tmp_path, CAP, "IMG_0002.JPG", "SiteA/IMG_0002.JPG", "SiteA/IMG_0001.JPG")
    assert [media is None for media in matches.media] == [True, True, False]
    assert matches.unclear[0].startswith("SiteA/IMG_0002.JPG and IMG_0002.JPG mean the same frame /cap/")


def test_a_folder_of_another_machine_can_be_taken_off(tmp_path: Path) -> None:
    assert found(tmp_path, CAP, "D:\\cards\\IMG_0002.JPG") == [None]
    (tmp_path / "again").mkdir()
    assert found(tmp_path / "again", CAP, "D:\\cards\\IMG_0002.JPG", strip="D:/cards") == [CAP[1]]


def test_accents_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    ours = unicodedata.normalize("NFD", "/cap/Río Négro/Ä_1.JPG")
    assert found(tmp_path, (ours,), unicodedata.normalize("NFC", "río négro/ä_1.jpg")) == [ours]


def test_names_that_differ_in_case_alone_are_told_apart_by_it(tmp_path: Path) -> None:
    ours = ("/cap/a/img_1.jpg", "/cap/a/IMG_1.JPG")
    assert found(tmp_path, ours, "a/IMG_1.JPG", "a/img_1.jpg") == [ours[1], ours[0]]


@pytest.mark.parametrize(
    ("url", "file_name", "meant"),
    [
        ("https://a.example/assets/8f/file", "IMG_0002.JPG", CAP[1]),
        ("https://a.example/assets/8f/IMG_0002.JPG?size=full", "", CAP[1]),
        ("s3://bucket/IMG%5F0002.JPG", "", CAP[1]),
        ("https://a.example/SiteC/IMG_0002.JPG", "", None),
        ("https://a.example/SiteA/IMG_0001.JPG", "", CAP[0]),
        ("media/8f0011.jpg", "IMG_0002.JPG", CAP[1]),
        ("SiteB/IMG_0002.JPG", "IMG_0002.JPG", None),
        ("file:///cap/SiteA/IMG_0001.JPG", "", CAP[0]),
    ],
)
def test_the_cameras_name_beside_that_of_a_server(tmp_path: Path, url: str, file_name: str, meant: str | None) -> None:
    assert found(tmp_path, CAP, FileEntry(url, file_name=file_name)) == [meant]


def test_a_deployment_that_is_known_here_must_agree(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.deployment("A")
    database.deployment("B")
    a, b = (database.frame(0, "impala", camera=camera, path=f"/cap/{camera}/IMG_1.JPG") for camera in "AB")
    entries = [FileEntry("IMG_1.JPG", deployment=name) for name in ("A", "B")]
    assert Frames(database.connection).match(entries).media == [a, b]
    other = [FileEntry("IMG_1.JPG", deployment="of another system")]
    assert "fits 2 frames" in Frames(database.connection).match(other).unclear[0]
