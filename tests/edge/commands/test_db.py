"""edge-db on databases that the real command made."""

import contextlib
import io
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.commands.classify import main as classify
from edge.commands.db import main as edge_db
from tests.support.made_images import noisy_jpeg
from tests.support.signal_handlers import keep_signals


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with 40 logged frames of a camera whose clock began on the first of January 2010, and a database."""
    for number in range(40):
        taken = f"2010:01:01 {number // 2:02}:{30 * (number % 2):02}:00"
        (tmp_path / f"IMG_{number:04}.JPG").write_bytes(noisy_jpeg(number, taken))
    with keep_signals():
        settings = ["--db", str(tmp_path / "d.db"), "--model", str(tiny_model), "--min-free-bytes", "0"]
        place = ["--deployment", "ridge", "--time-zone", "Africa/Nairobi"]
        done = classify([str(tmp_path), "-q", *settings, *place])
    assert done == 0
    return tmp_path


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(sql).fetchall()


def test_a_backup_holds_what_only_the_log_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = folder / "d.db"
    with closing(sqlite3.connect(db)) as daemon:
        daemon.execute("UPDATE media SET captured_at_raw = 'in the log'")
        daemon.commit()
        assert edge_db(["backup", "--db", str(db), str(folder / "copy.db")]) == 0
        (folder / "moved").mkdir()
        (folder / "copy.db").rename(folder / "moved" / "copy.db")
    found = rows(folder / "moved" / "copy.db", "SELECT DISTINCT captured_at_raw FROM media")
    assert found == [("in the log",)]
    assert edge_db(["backup", "--db", str(db), str(folder / "moved" / "copy.db")]) == 2
    assert "nothing is written over" in capsys.readouterr().err


def test_salvage_of_a_healthy_database_loses_nothing(folder: Path) -> None:
    new = folder / "new.db"
    assert edge_db(["assign", "--db", str(folder / "d.db"), "hill", "--of", "ridge", "--new", "--yes"]) == 0
    assert edge_db(["retime", "--db", str(folder / "d.db"), "--deployment", "hill", "--shift=+1h"]) == 0
    assert edge_db(["salvage", "--db", str(folder / "d.db"), str(new)]) == 0
    for table in (
        *("media", "observation", "candidate", "file", "run", "deployment"),
        *("configuration", "pin", "correction", "retime"),
    ):
        sql = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert rows(new, sql) == rows(folder / "d.db", sql), table


def test_pruning_shows_first_and_keeps_the_best_and_the_rare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = folder / "d.db"
    frames = set(folder.glob("IMG_*"))
    arguments = ["prune", "--db", str(db), "--keep-best", "2", "--rare", "3"]
    assert edge_db(arguments) == 0
    assert set(folder.glob("IMG_*")) == frames
    shown = {Path(line.split("  ")[-1]) for line in capsys.readouterr().out.splitlines()[:-1]}
    assert shown
    assert edge_db([*arguments, "--yes"]) == 0
    left = set(folder.glob("IMG_*"))
    assert left == frames - shown
    assert {Path(path) for (path,) in rows(db, "SELECT path FROM pruned")} == shown
    kept = {str(path) for path in left}
    taxa = rows(
        db,
        "SELECT taxon, path, confidence, count(*) OVER (PARTITION BY taxon) FROM detections "
        "WHERE kind = 'animal' ORDER BY taxon, confidence DESC",
    )
    for taxon in {taxon for taxon, *_ in taxa}:
        of_it = [(path, number) for name, path, _, number in taxa if name == taxon]
        assert {path for path, _ in of_it[:2]} <= kept
        if of_it[0][1] <= 3:
            assert {path for path, _ in of_it} <= kept


def test_pruning_leaves_what_is_no_more_what_was_logged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prune", "--db", str(folder / "d.db"), "--keep-best", "0", "--rare", "0", "--unknown-too"]
    edge_db(arguments)
    changed = Path(capsys.readouterr().out.splitlines()[0].split("  ")[-1])
    status = changed.stat()
    changed.write_bytes(changed.read_bytes()[:-1] + b"\xda")
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    with contextlib.redirect_stdout(io.StringIO()):
        edge_db([*arguments, "--yes"])
    left = set(folder.glob("IMG_*"))
    gone = {Path(path) for (path,) in rows(folder / "d.db", "SELECT path FROM pruned")}
    assert gone
    assert not gone & left
    assert changed in left
