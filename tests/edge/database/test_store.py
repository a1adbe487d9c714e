"""The real command logs a folder, run after run."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.commands.classify import main
from edge.database.recovery import find_damage
from edge.database.schema import open_database
from tests.support.made_images import noisy_jpeg
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
