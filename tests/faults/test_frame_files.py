"""Attacks on the way to a logged frame: what took its name or its folder's is never shown and never deleted."""

import os
import random
import shutil
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import edge.database.frame_files as frame_files
import edge.database.prune as prune_module
from edge.commands.classify import main as edge_classify
from edge.commands.db import main as edge_db
from edge.commands.report import main as edge_report
from edge.database.frame_files import FrameAway, FrameFiles
from edge.database.prune import PruneRules, prune
from edge.database.schema import open_database
from edge.image.decode import digest
from tests.support.frames_on_disk import ALL, Camera
from tests.support.made_images import noisy_jpeg
from tests.support.requirements import LONG
from tests.support.signal_handlers import keep_signals

RACES = 2_000 if LONG else 60
SEED = 22
LION, PERSON = noisy_jpeg(1, height=30, width=40, block_px=8), noisy_jpeg(2, height=30, width=40, block_px=8)


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    """Six lions in a row in a folder of their own: ids 1 to 6, of which 2 to 5 may go."""
    (tmp_path / "captures" / "DCIM").mkdir(parents=True)
    made = Camera(tmp_path / "captures" / "DCIM", tmp_path / "d.db")
    for number in range(6):
        made.frame(number * 3600, "lion", 0.5 + number / 20, content=LION + b"%d" % number)
    return made


def frame_path(camera: Camera, media: int) -> Path:
    return camera.folder / f"IMG_{media:04}.JPG"


def other_content(path: Path) -> None:
    """An image of a person of the same size and time."""
    status = path.stat()
    path.write_bytes(PERSON[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


def folder_of_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def enormous(path: Path) -> None:
    os.truncate(path, 20_000_000_000)


def parent_is_a_link(path: Path) -> None:
    """The folder was moved into an archive that has the very same frame, and a link was left."""
    path.parent.rename(path.parent.with_name("archive"))
    path.parent.symlink_to(path.parent.with_name("archive"))


def grandparent_is_a_link(path: Path) -> None:
    parent_is_a_link(path.parent)


def link_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


ATTACKS = (
    *(other_content, link, pipe, unix_socket, folder_of_that_name, device, enormous, link_loop),
    *(parent_is_a_link, grandparent_is_a_link),
)


def attacked(camera: Camera, attack: Callable[[Path], None], media: int = 3) -> Path:
    """Attacks one frame; gives the path of the database, which may lie in a moved folder."""
    attack(frame_path(camera, media))
    return camera.database.path


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_took_a_frames_place_is_not_read(camera: Camera, attack: Callable[[Path], None]) -> None:
    files = FrameFiles(camera.database.connection)
    assert files.read(3).data == frame_path(camera, 3).read_bytes()
    attacked(camera, attack)
    with pytest.raises(FrameAway):
        files.read(3, people=True)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_took_a_frames_place_is_not_on_the_page(
    camera: Camera, attack: Callable[[Path], None], tmp_path: Path
) -> None:
    shown: list[int] = []
    for out in (tmp_path / "before.html", tmp_path / "after.html"):
        if shown:
            for media in range(1, 7):
                if attack in (parent_is_a_link, grandparent_is_a_link) and media > 1:
                    break
                attacked(camera, attack, media)
        assert edge_report(["html", "--db", str(camera.database.path), "--out", str(out), "--quiet"]) == 0
        shown.append(out.read_text("utf-8").count("data:image/jpeg"))
    assert shown[0] > 0
    assert shown[1] == 0


def test_people_are_given_only_to_those_who_ask(camera: Camera) -> None:
    database, files = camera.database, FrameFiles(camera.database.connection)
    database.answer(3, "human", model=None, configuration=None, subject=1, box=(0, 0, 1, 1))
    database.answer(4, "vehicle", subject=7, box=(0, 0, 1, 1))
    database.answer(5, "human", by="Ana")
    for media in (3, 4, 5):
        with pytest.raises(FrameAway, match="people"):
            files.read(media)
        assert files.read(media, people=True).data
    database.answer(3, "lion", by="Ana")  # a person looked, and there is nobody
    assert files.read(3).data


def test_a_frame_is_found_at_another_path_where_it_was_seen(camera: Camera) -> None:
    copy = camera.folder / "copy.JPG"
    shutil.copy2(frame_path(camera, 3), copy)
    camera.database.connection.execute(
        "INSERT INTO file (path, bytes, mtime_ns, media, seen_at) SELECT ?, bytes, mtime_ns, media, '' FROM file"
        " WHERE media = 3",
        (str(copy),),
    )
    other_content(frame_path(camera, 3))
    assert FrameFiles(camera.database.connection).read(3).path == str(copy)


@pytest.mark.parametrize(
    "path", ["", "relative.jpg", "/", "/a\0b", "/../../etc/passwd", b"\xff", 7, None, "/" + "x" * 5000]
)
def test_odd_paths_in_the_database_are_no_frames(camera: Camera, path: object) -> None:
    connection = camera.database.connection
    connection.execute("DELETE FROM file WHERE media = 3")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    with suppress(Exception):
        connection.execute("UPDATE media SET path = ? WHERE id = 3", (path,))
    if connection.execute("SELECT path FROM media WHERE id = 3").fetchone()[0] == path:
        with pytest.raises(FrameAway):
            FrameFiles(connection).read(3)


def tried(camera: Camera, delete: bool = True, rules: PruneRules = ALL) -> set[int]:
    """The media whose file went."""
    with closing(open_database(camera.database.path)) as connection:
        return {candidate.media for candidate, error in prune(connection, rules, delete) if error is None}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_took_a_frames_place_is_not_deleted(camera: Camera, attack: Callable[[Path], None]) -> None:
    attacked(camera, attack)
    before = listing(camera.folder.parents[1])
    gone = tried(camera)
    assert 3 not in gone
    assert gone == (set() if attack in (parent_is_a_link, grandparent_is_a_link) else {2, 4, 5})
    assert before - listing(camera.folder.parents[1]) == {str(frame_path(camera, media)) for media in gone}
    assert tombstones(camera) == gone


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("moment", ["while it is read", "before the tombstone", "before it goes", "at the very end"])
def test_what_takes_a_frames_place_meanwhile_is_not_deleted(
    camera: Camera, attack: Callable[[Path], None], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = frame_path(camera, 3), list[set[str]]()

    def strike() -> None:
        if not kept:
            attack(path)
            kept.append(listing(camera.folder.parents[1]))

    def after(original: Callable[..., object], is_time: Callable[..., bool]) -> Callable[..., object]:
        def call(*values: object, **named: object) -> object:
            result = original(*values, **named)
            if is_time(*values):
                strike()
            return result

        return call

    mine = digest(path.read_bytes())
    if moment == "while it is read":
        monkeypatch.setattr(frame_files, "digest", after(digest, lambda data: digest(data) == mine))
    elif moment == "before the tombstone":
        changed = prune_module._is_changed
        monkeypatch.setattr(prune_module, "_is_changed", after(changed, lambda _, candidate: candidate.media == 3))
    elif moment == "before it goes":
        calls = []

        def second(_: object, candidate: prune_module.Candidate) -> bool:
            calls.append(candidate.media)
            return calls.count(3) == 2

        monkeypatch.setattr(prune_module, "_is_changed", after(prune_module._is_changed, second))
    else:
        rename = os.rename

        def renamed(old: str, new: str, **named: int) -> None:
            if str(old) == path.name and not kept:
                strike()
            rename(old, new, **named)

        monkeypatch.setattr(os, "rename", renamed)
    with closing(open_database(camera.database.path)) as connection:
        outcome = {candidate.media: error for candidate, error in prune(connection, ALL, delete=True)}
    assert kept, "the attack never happened"
    gone = {media for media, error in outcome.items() if error is None}
    assert 3 not in gone
    left = listing(camera.folder.parents[1])
    assert {
        name for name in kept[0] - left if not name.endswith(tuple(f"IMG_{media:04}.JPG" for media in gone))
    } == set()
    assert tombstones(camera) == gone


def test_a_name_that_is_taken_while_its_file_is_given_back_loses_nothing(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = frame_path(camera, 3)
    real_stat = os.stat

    def stat(name: str, **named: object) -> os.stat_result:
        if isinstance(name, str) and ".pruned-" in name and name.startswith(".IMG_0003") and not path.exists():
            path.write_bytes(b"a third one")  # between the renaming and the look
            found = next(camera.folder.glob(".IMG_0003*"))
            other_content(found)
            os.utime(found)
        return real_stat(name, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", stat)
    assert 3 not in tried(camera)
    monkeypatch.undo()
    assert path.read_bytes() == b"a third one"
    assert (camera.folder / "IMG_0003_1.JPG").exists()
    assert not list(camera.folder.glob(".*"))


def test_a_file_system_without_hard_links(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(frame_files.OpenFile, "_is_at", lambda *_: False)
    before = listing(camera.folder)
    assert tried(camera) == set()
    assert listing(camera.folder) == before


def test_files_with_another_name_stay(camera: Camera) -> None:
    """An archive of hard links: without one of its names a file takes as much room as before."""
    archive = camera.folder.parent / "archive"
    archive.mkdir()
    os.link(frame_path(camera, 3), archive / "IMG_0003.JPG")
    assert 3 not in tried(camera, delete=False)
    assert tried(camera) == {2, 4, 5}
    assert frame_path(camera, 3).exists()


def test_frames_replaced_at_random_moments(tmp_path: Path) -> None:
    """A camera's transfer puts new frames in the place of old ones while `prune` deletes."""
    rng, kept, deleted = random.Random(SEED), 0, 0
    for race in range(RACES):
        (tmp_path / f"{race}").mkdir()
        camera = Camera(tmp_path / f"{race}", tmp_path / f"{race}.db")
        for number in range(3):
            camera.frame(number * 3600, "lion", content=b"old %d" % number)
        path, fresh, arrival = frame_path(camera, 2), b"new %d" % race, camera.folder / "arriving.tmp"
        arrival.write_bytes(fresh)
        timer = threading.Timer(rng.uniform(0, 0.02), os.replace, (arrival, path))
        timer.start()
        deleted += 2 in tried(camera)
        timer.join()
        kept += any(one.read_bytes() == fresh for one in camera.folder.glob("IMG_0002*.JPG"))
        assert not list(camera.folder.glob(".*"))
        camera.database.connection.close()
    print(f"{RACES} races: the old frame was deleted in {deleted}, the new one kept in {kept}")
    assert kept == RACES, f"{RACES - kept} of {RACES} new frames were deleted"


def listing(folder: Path) -> set[str]:
    """All names below a folder, but those of the database."""
    return {
        os.path.join(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*folders, *names)
        if not name.startswith("d.db")
    }


def tombstones(camera: Camera) -> set[int]:
    with closing(open_database(camera.database.path)) as connection:
        return {media for (media,) in connection.execute("SELECT media FROM pruned")}


def test_no_rule_means_every_frame_by_not_being_a_number() -> None:
    for value in (float("nan"), float("inf"), float("-inf"), -1, 10**30):
        for name in ("older_than_days", "free_bytes", "keep_best", "rare"):
            with pytest.raises(ValueError, match="no number"):
                replace(ALL, **{name: value})  # type: ignore[arg-type]


def test_a_blank_with_an_imported_animal_stays(camera: Camera) -> None:
    blank = [camera.frame(50_000 + number, "blank") for number in range(200)]
    imported = {"model": None, "configuration": None, "classified_by": "MegaDetector 5"}
    for media in blank[:60]:  # too many to be rare
        camera.database.answer(media, "animal", 0.99, subject=1, box=(0, 0, 1, 1), **imported)
    for media in blank[60:120]:  # a whole decision of another model
        camera.database.answer(media, "leopard", 0.99, subject=0, **imported)
    for media in blank[120:180]:  # a bounding box of our own
        camera.database.answer(media, "leopard", 0.99, subject=2, box=(0, 0, 1, 1))
    assert set(blank) & tried(camera) == set(blank[180:])


def test_an_import_that_was_corrected_neither_protects_nor_makes_common(camera: Camera) -> None:
    blank = [camera.frame(50_000 + number, "blank") for number in range(3)]
    imported = {"model": 1, "configuration": None, "classified_by": "MegaDetector 5"}
    camera.database.answer(blank[1], "animal", 0.99, subject=1, box=(0, 0, 1, 1), **imported)
    camera.database.answer(blank[1], "blank", 0.99, subject=0, revision=1, **imported)
    assert set(blank) & camera.may_go(ALL) == set(blank)
    rare = camera.frame(60_000, "leopard", 0.1), camera.frame(60_001, "leopard", 0.2), camera.frame(60_002, "leopard")
    for number in range(80):
        lion = camera.frame(70_000 + number, "lion", 0.3)
        camera.database.answer(lion, "leopard", 0.9, subject=1, box=(0, 0, 1, 1), **imported)
    assert not set(rare) & camera.may_go(PruneRules(keep_best=0, rare=50, unknown_too=True))


def test_reviewed_frames_stay_whatever_was_withdrawn(camera: Camera) -> None:
    database = camera.database
    database.answer(2, "leopard", by="Ana")
    database.answer(2, "blank", by="Ben")
    (row,) = database.connection.execute("SELECT id FROM observation WHERE act = 'Ben'").fetchone()
    database.answer(2, "blank", by="undo", withdraws=row)  # Ana's leopard counts again
    database.answer(3, "leopard", by="Ana")
    (row,) = database.connection.execute("SELECT max(id) FROM observation WHERE act = 'Ana'").fetchone()
    database.answer(3, "leopard", by="undo", withdraws=row)
    database.answer(4, "blank", by="Ana")
    assert tried(camera) == {5}


def test_several_subjects_in_one_frame_count_each(camera: Camera) -> None:
    camera.database.answer(3, "lion", subject=1, box=(0, 0, 0.5, 0.5))
    camera.database.answer(3, "leopard", subject=2, box=(0, 0, 0.5, 0.5))
    camera.database.answer(4, "human", subject=1, box=(0, 0, 0.5, 0.5))
    assert tried(camera, rules=PruneRules(keep_best=0, rare=1, unknown_too=True)) == {2, 4, 5}


def test_a_model_pinned_while_files_are_deleted_ends_it(camera: Camera) -> None:
    with closing(open_database(camera.database.path)) as connection:
        going = prune(connection, ALL, delete=True)
        assert next(going)[0].media == 2
        camera.database.connection.execute(
            "INSERT INTO pin (model, configuration, at, \"by\") VALUES (1, 1, '', 'Ana')"
        )
        assert list(going) == []


def test_a_frame_received_while_the_devices_clock_was_behind_is_not_old(camera: Camera) -> None:
    connection = camera.database.connection
    connection.execute("UPDATE media SET received_at = '1970-01-01T00:00:10Z', captured_at = '2020-05-0' || id")
    connection.execute("UPDATE media SET captured_at = '2999-05-0' || id WHERE id IN (3, 6)")
    assert tried(camera, rules=replace(ALL, older_than_days=30)) == {2, 4, 5}


@pytest.mark.parametrize("where", ["root", "above"])
def test_a_watched_folder_may_lie_behind_a_link(
    tmp_path: Path, tiny_model: Path, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    card, captures = tmp_path / "card", tmp_path / "link" / "in"
    (card / "in" / "DCIM").mkdir(parents=True)
    if where == "root":
        (tmp_path / "link").mkdir()
        captures.symlink_to(card / "in")
    else:
        captures.parent.symlink_to(card)
    for number in range(6):
        (captures / "DCIM" / f"{number}.jpg").write_bytes(noisy_jpeg(number, height=30, width=40, block_px=8))
    db = tmp_path / "d.db"
    with keep_signals():
        assert edge_classify([str(captures), "--db", str(db), "--model", str(tiny_model), "--quiet"]) == 0
    with closing(open_database(db)) as connection:
        files = FrameFiles(connection)
        for media in range(1, 7):
            assert files.read(media, people=True).data
    arguments = ["prune", "--db", str(db), "--keep-best", "0", "--rare", "0", "--unknown-too"]
    assert edge_db(arguments) == 0
    could = capfd.readouterr().out.splitlines()
    # The link leads to an archive of the same frames now: nothing of it may go.
    shutil.copytree(card, tmp_path / "archive")
    before = listing(tmp_path / "archive")
    changed = captures if where == "root" else captures.parent
    changed.unlink()
    changed.symlink_to(tmp_path / "archive" / "in" if where == "root" else tmp_path / "archive")
    assert edge_db([*arguments, "--yes"]) == 0
    assert listing(tmp_path / "archive") == before
    assert len(list((card / "in" / "DCIM").iterdir())) == 6 - (len(could) - 1)
    assert len(could) > 1
