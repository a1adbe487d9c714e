"""Recovery of a damaged database: it is set aside, and what can be read of it goes into a new one."""

import logging
import os
import sqlite3
from contextlib import closing, suppress
from glob import escape
from itertools import count
from pathlib import Path
from shutil import rmtree

from edge.database.migrations import MIGRATIONS
from edge.database.repair.identification import Owner, leave_mark, owner_of
from edge.database.repair.missing_parts import make_again, missing_table
from edge.database.repair.pages import Pages
from edge.database.repair.salvage import SalvageError, salvage
from edge.database.repair.sqlite_errors import is_passing
from edge.database.schema import NEWEST, SchemaError, create_database, open_database
from edge.host.sync import sync
from edge.timestamps import now

log = logging.getLogger(__name__)

COMPANIONS = ("", "-wal", "-shm")  # SQLite's files of one database
_LABELS_NAMED = 20


def open_or_repair(path: Path) -> sqlite3.Connection:
    """Open or create the database at `path` after a check of all its pages and indexes.

    Raises `SchemaError` for a file of something else, which stays as it is, and `sqlite3.OperationalError` when the
    disk doesn't let it.
    """
    try:
        _finish_repair(path)
        owner = owner_of(path)
        if owner is Owner.OTHERS:
            raise SchemaError(f"{path} is no detections database; it was left as it is, choose another file with --db")
        if owner is Owner.OURS and (damage := find_damage(path)) is not None:
            repair(path, damage)
    except OSError as error:
        why = error.strerror or error
        raise sqlite3.OperationalError(f"its repair failed ({why}), it needs twice its room beside it") from error
    connection = open_database(path)
    try:
        make_again(connection)
    except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
        log.error("database: %s: what somebody removed cannot be made again (%s)", path, error)
    leave_mark(path, connection)
    return connection


def find_damage(path: Path) -> str | None:
    """What is wrong with the file at `path`, in one line; `None` for a healthy, an empty or an absent one."""
    if not path.exists():
        return "only its log is left" if path.with_name(path.name + "-wal").exists() else None
    with closing(Pages(path)) as pages:
        if pages.log.is_broken:  # SQLite would drop what comes behind the break
            return "its write-ahead log is broken"
    try:
        with closing(_connected(path, "ro")) as guard:
            # As long as a reader is there, SQLite does not move the log into a database that may be damaged.
            with suppress(sqlite3.OperationalError):  # a journal that has to be undone first, by a writer
                guard.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with closing(_connected(path, "rw")) as connection:  # a reader passes over the CHECKs of the tables
                damage = _damage_seen(connection)
    except UnicodeDecodeError:  # of SQLite's own message, which cites the file
        damage = "its schema is unreadable"
    except sqlite3.Error as error:
        if is_passing(error) and not _is_unwritable(path):
            raise  # the disk's fault or another's, not the file's
        damage = str(error)
    return None if damage is None else " ".join(damage.split())


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _damage_seen(connection: sqlite3.Connection) -> str | None:
    # Not the quick check: it passes over exchanged pages of indexes, which find a frame that is logged already.
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    damage = None if verdict == "ok" else str(verdict)
    return damage or _damage_of_schema(connection) or missing_table(connection) or _dangling(connection)


def repair(path: Path, damage: str) -> None:
    """Set the database aside and put in its place what can be read of it, at worst an empty one.

    Each step leaves something from which the next start goes on; the damaged file is in its place until the last.
    Raises `OSError` when the disk doesn't let it.
    """
    log.error("database: %s is damaged (%s); reading what can be read of it", path, damage)
    folder = _folder(path)
    rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    young = folder / "new"
    try:
        report = salvage(path, young)
        if (flaw := find_damage(young)) is not None:
            raise SalvageError(flaw)
        log.error("database: %s", report)
        for label in report.lost_labels[:_LABELS_NAMED]:
            log.error("database: lost with its frame: %s", label)
        if (more := len(report.lost_labels) - _LABELS_NAMED) > 0:
            log.error("database: lost with their frames: %d more labels", more)
    except (SalvageError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.Error) and is_passing(error):
            raise OSError(str(error)) from error
        log.error("database: nothing can be read of it (%s); a new, empty one begins", error)
        begin_anew(young)
    for companion in COMPANIONS[1:]:
        Path(f"{young}{companion}").unlink(missing_ok=True)
    sync(young)
    ready = _free_name(path, ".salvaged")
    os.replace(young, ready)
    aside = _put_in_place(ready, path)
    log.error("database: the damaged file is kept as %s; a new one goes on in its place", aside)


def begin_anew(young: Path) -> None:
    for companion in (*COMPANIONS, "-journal"):
        Path(f"{young}{companion}").unlink(missing_ok=True)
    create_database(young, NEWEST).close()


def _finish_repair(path: Path) -> None:
    """Go on with a repair that was killed, if there is a salvaged database that is not in its place.

    It has to be whole, and younger than a damaged database in its place; anything else of such a name is left alone.
    """
    for ready in sorted(path.parent.glob(f"{escape(path.name)}.salvaged*")):
        if (
            ready.name.endswith(COMPANIONS[1:])
            or not ready.is_file()
            or owner_of(ready) is not Owner.OURS
            or find_damage(ready) is not None
        ):
            continue
        if path.exists() and (ready.stat().st_mtime_ns < _written_ns(path) or find_damage(path) is None):
            continue
        _put_in_place(ready, path)
        return


def _put_in_place(ready: Path, path: Path) -> Path:
    """Move the damaged database aside and a salvaged one in its place; gives the former's new name."""
    aside = _aside(path)
    for companion in reversed(COMPANIONS):  # the database itself goes last: without it, its log means nothing
        if (part := Path(f"{path}{companion}")).exists():
            os.replace(part, f"{aside}{companion}")
    os.replace(ready, path)
    sync(path.parent)
    rmtree(_folder(path), ignore_errors=True)
    return aside


def _written_ns(path: Path) -> int:
    return max(part.stat().st_mtime_ns for end in ("", "-wal") if (part := Path(f"{path}{end}")).exists())


def _damage_of_schema(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the statements that made the tables: a flipped bit in one changes what every row must be."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL").fetchall())
    number = 2 if "configuration" in found or "pin" in found else 1
    expected = _expected(number)
    if version > NEWEST and found.keys() - expected.keys():
        return None  # a newer software's
    if version != number and found:
        return f"its version is said to be {version}, and its tables are of {number}"
    for name in expected.keys() & found.keys():
        sql = expected[name]
        if len(sql) == len(found[name]) and 0 < sum(map(str.__ne__, sql, found[name])) <= len(sql) // 20:
            return f"the statement that made {name} is garbled"
    return None


def _dangling(connection: sqlite3.Connection) -> str | None:
    """A pin or a run whose model is not there: no run could begin."""
    for table in ("pin", "run"):
        is_there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        if is_there and connection.execute(f"PRAGMA foreign_key_check({table})").fetchone() is not None:
            return f"a row of {table} refers to one that is not there"
    return None


def _expected(version: int) -> dict[str, str]:
    """Names and statements of the tables, views and indexes of a version."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql NOTNULL").fetchall())


def _is_unwritable(path: Path) -> bool:
    """Whether the header says that only a newer SQLite may write to the file, which none of ours says."""
    with path.open("rb") as file:
        return file.read(20)[18:20] not in (b"\1\1", b"\2\2")


def _aside(path: Path) -> Path:
    """The name for the damaged file: one whose log is there already, for a killed repair moved it, else a free one."""
    for log_aside in sorted(path.parent.glob(f"{escape(path.name)}.damaged-*-wal")):
        aside = log_aside.with_name(log_aside.name.removesuffix("-wal"))
        if not os.path.lexists(aside) and not Path(f"{path}-wal").exists():
            return aside
    return _free_name(path, f".damaged-{now():%Y%m%dT%H%M%S}")


def _free_name(path: Path, suffix: str) -> Path:
    """A name under which there is nothing yet."""
    names = (f"{path.name}{suffix}" if number == 1 else f"{path.name}{suffix}-{number}" for number in count(1))
    return next(
        free
        for free in map(path.with_name, names)
        if not any(os.path.lexists(f"{free}{companion}") for companion in COMPANIONS)
    )


def _folder(path: Path) -> Path:
    """Where a repair writes; always the same, so that a small card never fills with what killed ones left."""
    return path.with_name(f".{path.name}.salvage")
