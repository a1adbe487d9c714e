"""Recovery of a damaged database: it is set aside, and what can be read of it goes into a new one."""

import logging
import os
import sqlite3
from pathlib import Path

from edge.database.repair.missing_parts import make_again, missing_table
from edge.database.repair.salvage import salvage
from edge.database.schema import SchemaError, open_database
from edge.timestamps import now

log = logging.getLogger(__name__)

_OUR_MARKS = (b"CREATE TABLE observation", b"CREATE TABLE media", b'"card_version"')
COMPANIONS = ("", "-wal", "-shm")  # SQLite's files of one database


def open_or_repair(path: Path) -> sqlite3.Connection:
    """Open or create the database at `path` after a quick check of all its pages.

    Raises `SchemaError` for a database of something else, `sqlite3.OperationalError` when the disk doesn't let it.
    """
    _finish_repair(path)
    if (damage := find_damage(path)) is not None:
        if not _was_ours(path):
            raise SchemaError(f"{path} is no detections database ({damage}); choose another file with --db")
        log.error("database: %s is damaged (%s); reading what can be read of it", path, damage)
        try:
            aside = _repair(path)
        except OSError as error:
            why = error.strerror or error
            raise sqlite3.OperationalError(f"its repair failed ({why}), it needs twice its room beside it") from error
        log.error("database: the damaged file is kept as %s; a new one goes on in its place", aside)
    connection = open_database(path)
    try:
        make_again(connection)
    except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
        log.error("database: %s: what somebody removed cannot be made again (%s)", path, error)
    return connection


def find_damage(path: Path) -> str | None:
    """What is wrong with the file at `path`, in one line; `None` for a healthy, an empty or an absent one."""
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(path, timeout=10)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict == "ok":
                verdict = missing_table(connection) or verdict
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # the disk's fault or another's, not the file's
        return " ".join(str(error).split())
    return None if verdict == "ok" else " ".join(str(verdict).split())


def _was_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read was a detections database: only such a one may be moved aside.

    Its tables' names or a model's card are still in it, or its log lies beside it, or nothing but zeros is left of it.
    """
    if _beside(path, "-wal").exists():
        return True
    seen_other = False
    tail = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            if any(mark in tail + block for mark in _OUR_MARKS):
                return True
            seen_other = seen_other or any(block)
            tail = block[-64:]
    return not seen_other


def _repair(path: Path) -> Path:
    """Each step leaves something from which the next start goes on; the damaged file is in its place until the last."""
    young, ready = _beside(path, ".salvaging"), _beside(path, ".salvaged")
    for companion in COMPANIONS:
        Path(f"{young}{companion}").unlink(missing_ok=True)
    report = salvage(path, young)
    log.error("database: %s", report)
    _sync(young)
    os.replace(young, ready)
    return _finish_repair(path) or path


def _finish_repair(path: Path) -> Path | None:
    """Put a salvaged database in its place, and the damaged one aside; gives the latter's new name."""
    ready = _beside(path, ".salvaged")
    if not ready.exists():
        return None
    aside = None
    if path.exists():
        aside = _beside(path, f".damaged-{now():%Y%m%dT%H%M%S}")
        for companion in reversed(COMPANIONS):  # the database itself goes last: without it, its log means nothing
            if (part := Path(f"{path}{companion}")).exists():
                os.replace(part, f"{aside}{companion}")
    os.replace(ready, path)
    _sync(path.parent)
    return aside


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
