"""The real command logs a folder, run after run."""

import io
import logging
import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.commands.classify import main
from edge.database.repair.recovery import find_damage
from edge.database.schema import open_database
from edge.image.decode import digest
from tests.support.made_images import encoded, noisy_jpeg
from tests.support.signal_handlers import keep_signals

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Run:
    """Classifies `tmp_path/captures` into `tmp_path/d.db`; gives the exit code."""
    (tmp_path / "captures").mkdir()

    def once(*more: str) -> int:
        with keep_signals():
            paths = [str(tmp_path / "captures"), "--db", str(tmp_path / "d.db"), "--model", str(tiny_model)]
            return main([*paths, "-q", "--min-free-bytes", "0", *more])

    return once


def rows(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        return connection.execute(sql).fetchall()


def test_copies_links_and_names_are_one_frame(tmp_path: Path, run: Run) -> None:
    captures = tmp_path / "captures"
    (captures / "a.jpg").write_bytes(noisy_jpeg(1))
    shutil.copyfile(captures / "a.jpg", captures / "b.jpg")
    os.link(captures / "a.jpg", captures / "c.jpg")
    assert run() == 0
    (captures / "a.jpg").rename(captures / "d.jpg")
    (captures / "b.jpg").write_bytes(noisy_jpeg(2))  # a name that is used again
    assert run() == 0
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT digest) FROM media") == [(2, 2)]
    assert rows(tmp_path, "SELECT count(*) FROM observation") == [(2,)]
    assert rows(tmp_path, "SELECT count(*) FROM file") == [(4,)]


def test_an_incomplete_file_becomes_the_frame_in_the_same_row(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "captures" / "a.jpg"
    path.write_bytes(noisy_jpeg(1)[:-20])
    assert run() == 1
    assert run() == 1  # it is still no frame
    assert rows(tmp_path, "SELECT id, status, reason, attempts FROM media") == [(1, "unreadable", "truncated", 2)]
    path.rename(tmp_path / "captures" / "b.jpg")
    assert run() == 1
    assert rows(tmp_path, "SELECT id, path LIKE '%b.jpg' FROM media") == [(1, 1)]
    (tmp_path / "captures" / "b.jpg").write_bytes(noisy_jpeg(1))
    assert run() == 0
    assert rows(tmp_path, "SELECT id, status, reason FROM media") == [(1, "classified", None)]


def test_a_frame_that_grows_after_its_end_stays_one_frame(tmp_path: Path, run: Run) -> None:
    """Cameras append previews and padding; the image is complete before that."""
    path = tmp_path / "captures" / "a.jpg"
    path.write_bytes(noisy_jpeg(1) + b"begin")
    assert run() == 0
    before = rows(tmp_path, "SELECT m.id, o.id FROM media m JOIN observation o ON o.media = m.id")
    path.write_bytes(noisy_jpeg(1) + b"begin and end")
    assert run() == 0
    assert rows(tmp_path, "SELECT m.id, o.id FROM media m JOIN observation o ON o.media = m.id") == before
    assert rows(tmp_path, "SELECT bytes FROM media") == [(path.stat().st_size,)]
    path.write_bytes(noisy_jpeg(2) + b"begin and end and more")  # another frame under the name
    assert run() == 0
    assert rows(tmp_path, "SELECT count(*) FROM media") == [(2,)]


def test_a_run_records_its_end(tmp_path: Path, run: Run) -> None:
    (tmp_path / "captures" / "a.jpg").write_bytes(noisy_jpeg(1))
    run()
    assert rows(tmp_path, "SELECT count(*) FROM run WHERE ended_at IS NULL") == [(0,)]


def test_an_interrupted_repair_is_finished(tmp_path: Path, run: Run) -> None:
    """Between the last two steps of a repair there is no database, only the salvaged one under its own name."""
    (tmp_path / "captures" / "a.jpg").write_bytes(noisy_jpeg(1))
    run()
    (tmp_path / "d.db").rename(tmp_path / "d.db.salvaged")
    run()
    assert rows(tmp_path, "SELECT count(*) FROM run") == [(2,)]
    assert not (tmp_path / "d.db.salvaged").exists()


def test_find_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert find_damage(path) is None
    open_database(path).close()
    assert find_damage(path) is None
    path.write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert find_damage(path) is not None


def rewritten(data: bytes, captured: str, comment: bytes = b"") -> bytes:
    """The same image data with other metadata."""
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
    exif.get_ifd(0x8769)[0x9003] = captured
    block = exif.tobytes()
    segments = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    if comment:
        segments += b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    size = int.from_bytes(data[4:6], "big") if data[3] in (0xE0, 0xE1) else -2
    return data[:2] + segments + data[4 + size :]


WRONG, RIGHT = "2013:01:01 12:00:00", "2017:04:03 15:30:00"


def test_a_frame_whose_clock_was_corrected_in_its_file_keeps_its_row_and_its_labels(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "captures" / "a.jpg"
    path.write_bytes(noisy_jpeg(1, WRONG))
    assert run("--time-zone", "UTC") == 0
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection, connection:
        connection.execute(
            "INSERT INTO observation (media, kind, taxon, method, classified_by, classified_at, act, line)"
            " VALUES (1, 'animal', 'Panthera leo', 'human', 'ann', '2026-01-01T00:00:00.000Z', 'x', 0)"
        )
    path.write_bytes(rewritten(noisy_jpeg(1, WRONG), RIGHT))
    assert run("--time-zone", "UTC") == 0
    right, wrong = "2017-04-03T15:30:00.000Z", "2013-01-01T12:00:00.000Z"
    assert rows(tmp_path, "SELECT captured_at, captured_at_raw FROM media") == [(right, RIGHT)]
    assert rows(tmp_path, "SELECT taxon FROM detections") == [("Panthera leo",)]
    assert rows(tmp_path, "SELECT count(*) FROM observation WHERE method = 'machine' AND subject = 0") == [(1,)]
    expected = [
        ("digest", digest(noisy_jpeg(1, WRONG)), digest(path.read_bytes()), "edge-classify"),
        ("captured_at", wrong, right, "edge-classify"),
        ("captured_at_raw", WRONG, RIGHT, "edge-classify"),
    ]
    assert rows(tmp_path, 'SELECT field, old, new, "by" FROM correction ORDER BY id') == expected
    assert rows(tmp_path, "SELECT start FROM event") == [(right,)]


def test_the_bytes_before_are_a_copy_and_never_turn_the_time_back(tmp_path: Path, run: Run) -> None:
    captures = tmp_path / "captures"
    (captures / "a.jpg").write_bytes(noisy_jpeg(1, WRONG))
    run("--time-zone", "UTC")
    (captures / "a.jpg").write_bytes(rewritten(noisy_jpeg(1, WRONG), RIGHT))
    run("--time-zone", "UTC")
    (captures / "backup").mkdir()
    (captures / "backup" / "a.jpg").write_bytes(noisy_jpeg(1, WRONG))
    run("--time-zone", "UTC")
    after = [("captures/a.jpg", "2017-04-03T15:30:00.000Z")]
    assert rows(tmp_path, "SELECT substr(path, -14), captured_at FROM media") == after
    (captures / "a.jpg").write_bytes(noisy_jpeg(1, WRONG))  # the backup was put back
    run("--time-zone", "UTC")
    assert rows(tmp_path, "SELECT substr(path, -14), captured_at FROM media") == after
    (captures / "a.jpg").write_bytes(rewritten(noisy_jpeg(1, WRONG), "2018:04:03 15:30:00"))  # corrected once more
    run("--time-zone", "UTC")
    assert rows(tmp_path, "SELECT captured_at FROM media") == [("2018-04-03T15:30:00.000Z",)]
    assert rows(tmp_path, "SELECT count(*) FROM correction WHERE field = 'digest'") == [(2,)]


def test_a_keyword_in_the_file_changes_no_time(tmp_path: Path, run: Run) -> None:
    """Nor do metadata that lost the time: what was taken out corrects nothing."""
    path = tmp_path / "captures" / "a.jpg"
    path.write_bytes(noisy_jpeg(1, WRONG))
    run("--time-zone", "UTC")
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection, connection:
        connection.execute("UPDATE media SET captured_at = '2020-01-01T00:00:00.000Z'")  # as retime does
    for data in (rewritten(noisy_jpeg(1, WRONG), WRONG, b"a leopard"), rewritten(noisy_jpeg(1, WRONG), "")):
        path.write_bytes(data)
        run("--time-zone", "UTC")
        assert rows(tmp_path, "SELECT captured_at, digest FROM media") == [("2020-01-01T00:00:00.000Z", digest(data))]
    assert rows(tmp_path, "SELECT DISTINCT field FROM correction") == [("digest",)]


def test_a_corrected_file_that_moved_within_its_camera_is_the_same_frame(tmp_path: Path, run: Run) -> None:
    captures = tmp_path / "captures"
    before, after = captures / "100EK113" / "IMG_0001.JPG", captures / "corrected" / "img_0001.jpg"
    before.parent.mkdir()
    before.write_bytes(noisy_jpeg(1, WRONG))
    run("--time-zone", "UTC", "--deployment", "ridge")
    after.parent.mkdir()
    after.write_bytes(rewritten(noisy_jpeg(1, WRONG), RIGHT))
    before.unlink()
    run("--time-zone", "UTC", "--deployment", "ridge")
    assert rows(tmp_path, "SELECT captured_at FROM media") == [("2017-04-03T15:30:00.000Z",)]


@pytest.mark.parametrize("why", ["the old file is there", "other name", "other camera", "folder not mounted"])
def test_a_corrected_file_elsewhere_counts_by_itself(tmp_path: Path, run: Run, why: str) -> None:
    captures = tmp_path / "captures"
    before = captures / "a" / "IMG_0001.JPG"
    before.parent.mkdir()
    before.write_bytes(noisy_jpeg(1, WRONG))
    run("--time-zone", "UTC", "--deployment", "ridge")
    after = captures / "b" / ("IMG_0002.JPG" if why == "other name" else "IMG_0001.JPG")
    after.parent.mkdir()
    after.write_bytes(rewritten(noisy_jpeg(1, WRONG), RIGHT))
    if why != "the old file is there":
        before.unlink()
    if why == "folder not mounted":
        before.parent.rmdir()
    run("--time-zone", "UTC", "--deployment", "valley" if why == "other camera" else "ridge")
    assert rows(tmp_path, "SELECT count(*) FROM media WHERE status = 'classified'") == [(2,)]


def test_frames_without_detail_stay_frames_of_their_own(tmp_path: Path, run: Run) -> None:
    """A covered lens gives the same image at every time; the counter of the camera begins again."""
    black = encoded(np.zeros((96, 128, 3), np.uint8))
    path = tmp_path / "captures" / "IMG_0001.JPG"
    path.write_bytes(rewritten(black, WRONG))
    run("--time-zone", "UTC")
    path.write_bytes(rewritten(black, RIGHT))
    run("--time-zone", "UTC")
    assert rows(tmp_path, "SELECT captured_at FROM media ORDER BY id") == [
        ("2013-01-01T12:00:00.000Z",),
        ("2017-04-03T15:30:00.000Z",),
    ]


def test_nothing_merges_where_two_rows_have_the_image(tmp_path: Path, run: Run) -> None:
    for name, time in (("a.jpg", WRONG), ("b.jpg", RIGHT)):
        (tmp_path / "captures" / name).write_bytes(rewritten(noisy_jpeg(1), time))
    run("--time-zone", "UTC")
    (tmp_path / "captures" / "a.jpg").write_bytes(rewritten(noisy_jpeg(1), "2018:04:03 15:30:00"))
    run("--time-zone", "UTC")
    assert rows(tmp_path, "SELECT count(*) FROM media") == [(3,)]


def test_rows_of_an_earlier_version_get_their_image_digest_from_files_as_they_were_logged(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    captures = tmp_path / "captures"
    (captures / "away").mkdir()
    names = ("as_logged.jpg", "changed.jpg", "gone.jpg", "away/a.jpg", "bitmap.bmp")
    for number, name in enumerate(names):
        data = noisy_jpeg(number, WRONG) if name.endswith("jpg") else encoded(np.zeros((9, 9, 3), np.uint8), "BMP")
        (captures / name).write_bytes(data)
    run("--time-zone", "UTC")
    (known,) = rows(tmp_path, "SELECT image_digest FROM media WHERE path LIKE '%as_logged%'")
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection, connection:
        connection.execute("UPDATE media SET image_digest = NULL")
    (captures / "changed.jpg").write_bytes(noisy_jpeg(9))
    (captures / "gone.jpg").unlink()
    shutil.move(captures / "away", tmp_path / "elsewhere")
    caplog.set_level(logging.INFO, "edge.database.corrections.image_digests")
    logging.getLogger("edge.database.corrections.image_digests").setLevel(logging.INFO)
    run("--time-zone", "UTC")
    found = dict(
        rows(tmp_path, "SELECT replace(path, rtrim(path, replace(path, '/', '')), ''), image_digest FROM media")
    )
    assert found["as_logged.jpg"] == known[0]
    assert (found["gone.jpg"], found["bitmap.bmp"], found["a.jpg"]) == ("", "", None)
    said = [record.message for record in caplog.records if "image digests" in record.message]
    assert [message[:40] for message in said] == ["image digests: 1 earlier frames have the"]
    assert "3 can have none" in said[0]
    assert "1 wait" in said[0]
    run("--time-zone", "UTC")  # said once
    assert len([record for record in caplog.records if "image digests" in record.message]) == 1
    (captures / "as_logged.jpg").write_bytes(rewritten(noisy_jpeg(0, WRONG), RIGHT))
    run("--time-zone", "UTC")
    assert rows(tmp_path, "SELECT count(*) FROM media WHERE path LIKE '%as_logged%'") == [(1,)]
