"""A damaged database of ours is set aside and repaired; a file of anyone else stays as it is, to the byte."""

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge.commands.classify import main
from edge.database.migrations import MIGRATIONS
from edge.database.repair import recovery
from edge.database.repair.identification import Owner, owner_of
from edge.database.repair.recovery import find_damage, open_or_repair
from edge.database.repair.salvage import SalvageError, salvage
from edge.database.repair.salvaged import Salvaged
from edge.database.schema import SchemaError, open_database
from edge.database.store import Store
from tests.support.made_images import noisy_jpeg
from tests.support.signal_handlers import keep_signals


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def foreign_database(path: Path, journal: str = "DELETE", version: int = 0) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE media (id INTEGER PRIMARY KEY, path TEXT, title TEXT)")
        connection.execute("INSERT INTO media VALUES (1, '/a', 'card_version')")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


def foreign_with_log(path: Path) -> None:
    """A database whose writer was killed: its newest rows are in the log only."""
    with closing(sqlite3.connect(path.with_name("x"))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        for end in ("", "-wal"):
            shutil.copyfile(path.with_name(f"x{end}"), f"{path}{end}")
    path.with_name("x").unlink()


def only_a_log(path: Path) -> None:
    foreign_with_log(path)
    path.unlink()


def our_words(path: Path) -> None:
    path.write_text("".join(MIGRATIONS) + '{"card_version": 2}', "utf-8")


def our_words_in_pages(path: Path) -> None:
    """A text of our tables, each at the beginning of what could be a page."""
    path.write_bytes(b"".join(MIGRATIONS[0].encode()[:4000].ljust(4096, b"\0") for _ in range(4)))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("media.csv", "CREATE TABLE media")


OTHERS: dict[str, Callable[[Path], None]] = {
    "zeros": lambda path: void(path.write_bytes(bytes(40_960))),
    "text": lambda path: void(path.write_text("my notes\n", "utf-8")),
    "text with a log beside it": lambda path: void(
        path.write_text("notes", "utf-8"), path_of_log(path).write_bytes(b"x")
    ),
    "our words": our_words,
    "our words in pages": our_words_in_pages,
    "another's database": foreign_database,
    "another's in WAL mode": lambda path: foreign_database(path, "WAL"),
    "another's of version 1": lambda path: foreign_database(path, version=1),
    "another's of version 2": lambda path: foreign_database(path, version=2),
    "another's with its log": foreign_with_log,
    "another's log alone": only_a_log,
    "zip": zipped,
    "a JPEG": lambda path: void(path.write_bytes(noisy_jpeg(1))),
}


def path_of_log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def void(*_: object) -> None:
    return None


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_of_others_is_refused_and_stays_as_it_is(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path = tmp_path / "d.db"
    OTHERS[what](path)
    before = contents(tmp_path)
    captures = tmp_path / "captures"
    captures.mkdir()
    with keep_signals():
        code = main([str(captures), "--db", str(path), "--model", str(tiny_model), "-q", "--min-free-bytes", "0"])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no detections database" in line
    after = contents(tmp_path)
    after.pop("d.db.lock")
    assert after == before


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.db").mkdir()
    with pytest.raises(SchemaError):
        open_or_repair(tmp_path / "d.db")


@pytest.mark.parametrize("content", [b"", None])
def test_an_empty_file_becomes_a_database(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "d.db"
    if content is None:
        sqlite3.connect(path).execute("VACUUM").close()
    else:
        path.write_bytes(content)
    open_or_repair(path).close()
    assert find_damage(path) is None
    assert not list(tmp_path.glob("*damaged*"))


def opened(path: Path) -> Path:
    open_or_repair(path).close()
    return path


def test_the_mark_tells_a_database_whose_tables_cannot_be_read(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    content = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        (id_,) = connection.execute("SELECT id FROM identity").fetchone()
    page = content.index(id_.encode()) // 4096
    path.write_bytes(bytes(page * 4096) + content[page * 4096 : (page + 1) * 4096])
    assert owner_of(path) is Owner.OURS
    shutil.copyfile(path, tmp_path / "other")  # the same bytes in a file that we did not open
    (tmp_path / "other").rename(path)
    assert owner_of(path) is Owner.OTHERS


def test_the_inode_alone_does_not_tell(tmp_path: Path) -> None:
    """File systems give the inode of a deleted file to the next one."""
    path = opened(tmp_path / "d.db")
    path.write_bytes(b"a file that somebody made in its place\n" * 1000)
    assert owner_of(path) is Owner.OTHERS


def test_a_healthy_database_of_version_1_is_migrated_and_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1")
    open_or_repair(path).close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.db", "d.db.before-2", "d.db.lock"]


def test_what_a_user_adds_is_no_damage(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "ALTER TABLE media ADD COLUMN project TEXT; CREATE TABLE notes (a, b); CREATE INDEX own ON media (bytes);"
            " CREATE VIEW mine AS SELECT * FROM notes"
        )
    assert find_damage(path) is None
    opened(path)
    assert not list(tmp_path.glob("*damaged*"))


@pytest.mark.parametrize("version", [0, 1, 3, 66])
def test_a_version_that_its_tables_contradict_is_damage(tmp_path: Path, version: int) -> None:
    path = opened(tmp_path / "d.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    opened(path)
    assert len(set_aside(tmp_path)) == 1


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE new_in_3 (a); PRAGMA user_version = 3")
    with pytest.raises(SchemaError, match="newer"):
        open_or_repair(path)


def set_aside(folder: Path) -> list[Path]:
    return [path for path in folder.glob("d.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]


def broken(path: Path) -> bytes:
    """Break a page, in its place."""
    with path.open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xaa" * 4096)
    return path.read_bytes()


def test_two_repairs_in_one_second_keep_both_files(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    kept = []
    for _ in range(3):
        kept.append(broken(path))
        opened(path)
    assert sorted(file.read_bytes() for file in set_aside(tmp_path)) == sorted(kept)


def test_garbage_named_salvaged_replaces_nothing(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    garbage = tmp_path / "d.db.salvaged"
    garbage.write_bytes(b"garbage")
    before = path.read_bytes()
    opened(path)
    assert (path.read_bytes()[100:], garbage.read_bytes()) == (before[100:], b"garbage")
    broken(path)
    opened(path)
    assert find_damage(path) is None
    assert garbage.read_bytes() == b"garbage"
    shutil.copyfile(path, garbage)  # a database of ours, but the one in its place is healthy
    opened(path)
    assert garbage.exists()


def test_where_nothing_can_be_read_a_new_database_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = opened(tmp_path / "d.db")
    damaged = broken(path)

    def fail(_damaged: Path, out: Path) -> Salvaged:
        out.write_bytes(b"half")
        raise SalvageError("reading it took longer than 55 s")

    monkeypatch.setattr(recovery, "salvage", fail)
    opened(path)
    assert find_damage(path) is None
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes() == damaged


def test_a_log_without_its_database_is_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with closing(open_database(path)) as connection:
        connection.execute("INSERT INTO deployment (id) VALUES ('ridge')")
        shutil.copyfile(path_of_log(path), tmp_path / "log")
    path.unlink()
    (tmp_path / "log").rename(path_of_log(path))
    opened(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id FROM deployment").fetchall() == [("ridge",)]
    assert len(list(tmp_path.glob("d.db.damaged-*-wal"))) == 1


def test_a_break_in_the_log_loses_only_its_own_transaction(tmp_path: Path) -> None:
    """SQLite reads a log up to its first broken frame, and drops what follows without a word."""
    path = tmp_path / "d.db"
    opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in "abcdef":
            connection.execute(f"INSERT INTO heartbeat (at) VALUES ('2026-05-0{ord(name) - 96}')")
        log = bytearray(path_of_log(path).read_bytes())
        main_file = path.read_bytes()
    log[32 + 24 + 2000] ^= 1  # in the first frame
    path.write_bytes(main_file)
    path_of_log(path).write_bytes(log)
    opened(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM heartbeat").fetchone()[0] == 6
    assert len(list(tmp_path.glob("d.db.damaged-*-wal"))) == 1


def test_salvage_leaves_the_damaged_file_as_it_is(tmp_path: Path) -> None:
    path = opened(tmp_path / "d.db")
    broken(path)
    before = contents(tmp_path)
    salvage(path, tmp_path / "out.db")
    assert {name: data for name, data in contents(tmp_path).items() if not name.startswith("out.db")} == before


def test_a_value_that_stops_a_run_is_repaired_at_the_start(tmp_path: Path, tiny_model: Path) -> None:
    path, captures = tmp_path / "d.db", tmp_path / "captures"
    captures.mkdir()
    (captures / "a.jpg").write_bytes(noisy_jpeg(1))
    command = [str(captures), "--db", str(path), "--model", str(tiny_model), "-q", "--min-free-bytes", "0"]
    with keep_signals():
        assert main(command) == 0
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE model SET sha256 = CAST(x'61ff62' AS TEXT)")
            connection.execute("UPDATE media SET captured_at = '2026-13-45T99:00:00.000Z'")
            connection.commit()
        (captures / "b.jpg").write_bytes(noisy_jpeg(2))
        assert main(command) == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM detections WHERE kind NOTNULL").fetchone() == (2,)
    assert len(set_aside(tmp_path)) == 1


def test_an_error_that_is_not_the_databases_repairs_nothing(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_store: Store) -> None:
        raise TypeError("an error of ours")

    path = opened(tmp_path / "d.db")
    monkeypatch.setattr(Store, "_begin", fail)
    with keep_signals(), pytest.raises(TypeError):
        main([str(tmp_path), "--db", str(path), "--model", str(tiny_model), "-q"])
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]
