"""Opening the detections database: pragmas, migration to the newest schema, and a copy of the file before it."""

import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from errno import EEXIST
from pathlib import Path
from secrets import randbits
from shutil import disk_usage

from edge.database.configuration import of_old_run, save_configuration
from edge.database.migrations import MIGRATIONS
from edge.database.transaction import writing
from edge.host.sync import sync

JOURNAL_LIMIT_BYTES = 64_000_000  # a slow reader lets the log grow; afterwards it gives the space back
NEWEST = len(MIGRATIONS)
PRIVATE = 0o660
"""Rights of a database and of what lies beside it, less what the umask takes: others get none."""


class SchemaError(RuntimeError):
    """The database is not one that this software can use."""


def open_database(path: Path | str, read_only: bool = False, keep_copy: bool = True) -> sqlite3.Connection:
    """Open, and unless `read_only` create or migrate, a detections database.

    Readers never block the writer and are never blocked (write-ahead log); a commit is on the disk when it returns
    (`synchronous=FULL`). Raises `SchemaError` for a database of a newer version or of something else.
    """
    if read_only:
        connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    else:
        make_private(path)
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
            migrate(connection, Path(path), keep_copy)
    except BaseException:
        connection.close()
        raise
    return connection


def version_of(connection: sqlite3.Connection, path: Path | str) -> int:
    """The schema's version; 0 for an empty database. Raises `SchemaError` for one that a newer software wrote."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > NEWEST:
        raise SchemaError(
            f"{path} was written by a newer edge-classify (schema {version}, this one knows {NEWEST}); "
            "install the newer version or choose another file with --db"
        )
    return int(version)


def create_database(path: Path, version: int) -> sqlite3.Connection:
    """Create a database of an older or the newest version."""
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, newest=version)
    return connection


def migrate(connection: sqlite3.Connection, path: Path, keep_copy: bool = True, newest: int = NEWEST) -> None:
    """Bring the database to the version `newest`, one transaction for each step.

    An older software refuses the newer schema, so a copy of the file as it was stays beside it (`NAME.before-VERSION`).
    """
    version = version_of(connection, path)
    if version >= newest:
        return
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table'").fetchone():
        raise SchemaError(f"{path} is a database of something else; choose another file with --db")
    if version > 0 and keep_copy:
        _keep_copy(connection, path)
    step_of: Callable[[], AbstractContextManager[object]] = nullcontext
    if version > 0:  # not for a new database: where pandas is installed, importing it takes 70 MB
        from sqlite_utils import Database

        step_of = Database(connection).atomic
    # A table is replaced by a wider one: the rows that refer to it must not be deleted with the narrow one.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for step in range(version, newest):
            with writing(connection), step_of():
                if version_of(connection, path) > step:
                    continue  # another process did it meanwhile
                for statement in statements(MIGRATIONS[step]):
                    connection.execute(statement)
                if step == 1:
                    _translate_settings(connection)
                    connection.execute(f"PRAGMA application_id = {randbits(31)}")
                connection.execute(f"PRAGMA user_version = {step + 1}")
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def make_private(path: Path | str) -> None:
    """Make an empty file for a new database that others cannot read: it tells where animals and people were seen.

    SQLite gives its companions the same rights, and it is SQLite that says why a database cannot be made.
    """
    with suppress(OSError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, PRIVATE))


def copy_database(source: sqlite3.Connection, out: Path, anew: bool = False) -> None:
    """Copy the database as it is at one moment into the file `out`, complete or not at all.

    With `anew` there must be no such file when the copy is complete. Raises `FileExistsError`.
    """
    part = out.with_name(out.name + ".part")
    if part.is_symlink() or (part.exists() and not _is_database(part)):
        raise FileExistsError(EEXIST, "it is there and is no copy that was left half done; move it away", str(part))
    for end in ("", "-journal", "-wal", "-shm"):  # what a killed process left
        Path(f"{part}{end}").unlink(missing_ok=True)
    make_private(part)
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        # One file without companions, so that copying it further loses nothing.
        copy.execute("PRAGMA journal_mode = DELETE")
    sync(part)
    if anew:
        rename_anew(part, out)
    else:
        os.replace(part, out)
    sync(out.absolute().parent)


def rename_anew(old: Path, new: Path) -> None:
    """Rename a file unless there is one of the new name. Raises `FileExistsError`."""
    try:
        os.link(old, new)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(new):
            raise FileExistsError(EEXIST, "it came meanwhile, and nothing is written over", str(new)) from None
        os.rename(old, new)
    else:
        os.unlink(old)


def _is_database(path: Path) -> bool:
    """Whether a file is a SQLite database, or empty."""
    with path.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\0")


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the database before it is changed.

    A copy with the same rows is there already when a process was killed while it changed the database. One with other
    rows is of an earlier change that was taken back, and moves aside. The write lock keeps another process from doing
    the same meanwhile.
    """
    copy = path.with_name(f"{path.name}.before-{NEWEST}")
    with writing(connection):
        if version_of(connection, path) == NEWEST:
            return
        _refuse_without_room(connection, path)
        new = copy.with_name(f"{copy.name}.new")
        # A connection that holds the write lock cannot be copied from.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
            copy_database(source, new if copy.exists() else copy)
        if new.exists():
            if _same_pages(new, copy):
                new.unlink()
            else:
                numbers = (copy.with_name(f"{copy.name}.{number}") for number in itertools.count(1))
                os.replace(copy, next(name for name in numbers if not name.exists()))
                os.replace(new, copy)


def _same_pages(first: Path, second: Path) -> bool:
    """Whether two copies hold the same, but for the counters in their headers of 100 bytes."""
    if first.stat().st_size != second.stat().st_size:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        one.seek(100)
        other.seek(100)
        while block := one.read(1 << 20):
            if block != other.read(1 << 20):
                return False
    return True


def _refuse_without_room(connection: sqlite3.Connection, path: Path) -> None:
    (pages,), (page_bytes,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    needed = 3 * pages * page_bytes  # the copy, the wider table, and the log of the change
    free = disk_usage(path.absolute().parent).free
    if free < needed:
        raise SchemaError(
            f"{path} has to be brought to schema {NEWEST}, which needs {needed:,} bytes beside it for a copy and for"
            f" the change; {free:,} are free; make room on its disk and start again"
        )


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `executescript` would commit the transaction that they belong to."""
    held = ""
    for line in script.splitlines(keepends=True):
        held += line
        if sqlite3.complete_statement(held) and held.strip():
            yield held
            held = ""


def _translate_settings(connection: sqlite3.Connection) -> None:
    """Version 1 kept what changes a decision in the settings of a run; version 2 has configurations."""
    runs = connection.execute("SELECT id, settings FROM run").fetchall()
    for run, text in runs:
        try:
            settings = json.loads(text)
        except ValueError:
            continue  # what salvage could not read
        configuration = save_configuration(connection, of_old_run(settings))
        if configuration != 1:
            connection.execute("UPDATE run SET configuration = ? WHERE id = ?", (configuration, run))
            connection.execute(
                "UPDATE observation SET configuration = ? WHERE run = ? AND method = 'machine'", (configuration, run)
            )
    _split_models(connection)
    connection.execute(
        "UPDATE pin SET configuration = (SELECT configuration FROM run ORDER BY id DESC LIMIT 1) WHERE id = 1"
    )


def _split_models(connection: sqlite3.Connection) -> None:
    """Version 1 named a classifier behind a detector by both files; the detector is part of the configuration now."""
    for id_, sha256, text in connection.execute(
        "SELECT id, sha256, card FROM model WHERE sha256 LIKE '%+%'"
    ).fetchall():
        own = sha256.partition("+")[0]
        known = connection.execute("SELECT id FROM model WHERE sha256 = ?", (own,)).fetchone()
        if known is None:
            name = json.loads(text).get("name") if text.startswith("{") else None
            connection.execute("UPDATE model SET sha256 = ?, name = coalesce(?, name) WHERE id = ?", (own, name, id_))
            continue
        for table in ("observation", "run", "pin"):
            connection.execute(f"UPDATE {table} SET model = ? WHERE model = ?", (known[0], id_))
        connection.execute("DELETE FROM model WHERE id = ?", (id_,))
