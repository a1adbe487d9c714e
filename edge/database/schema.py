"""Opening the detections database: pragmas, migration to the newest schema, and a copy of the file before it."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import disk_usage

from edge.database.configuration import of_old_run, save_configuration
from edge.database.migrations import MIGRATIONS

JOURNAL_LIMIT_BYTES = 64_000_000  # a slow reader lets the log grow; afterwards it gives the space back
NEWEST = len(MIGRATIONS)


class SchemaError(RuntimeError):
    """The database is not one that this software can use."""


def open_database(path: Path | str, read_only: bool = False) -> sqlite3.Connection:
    """Open, and unless `read_only` create or migrate, a detections database.

    Readers never block the writer and are never blocked (write-ahead log); a commit is on the disk when it returns
    (`synchronous=FULL`). Raises `SchemaError` for a database of a newer version or of something else.
    """
    if read_only:
        connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=10)
    else:
        connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
            migrate(connection, Path(path))
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


def migrate(connection: sqlite3.Connection, path: Path, keep_copy: bool = True) -> None:
    """Bring the database to the newest version, one transaction for each step.

    An older software refuses the newer schema, so a copy of the file as it was stays beside it (`NAME.before-VERSION`).
    """
    version = version_of(connection, path)
    if version == NEWEST:
        return
    from sqlite_utils import Database  # a fifth of a second that a database which is up to date does not need

    database = Database(connection)
    if version == 0 and database.table_names():
        raise SchemaError(f"{path} is a database of something else; choose another file with --db")
    if version > 0 and keep_copy:
        _keep_copy(connection, path)
    # A table is replaced by a wider one: the rows that refer to it must not be deleted with the narrow one.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        for step in range(version, NEWEST):
            with database.atomic():
                for statement in _statements(MIGRATIONS[step]):
                    connection.execute(statement)
                if step == 1:
                    _translate_settings(connection)
                connection.execute(f"PRAGMA user_version = {step + 1}")
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def copy_database(source: sqlite3.Connection, out: Path) -> None:
    """Copy the database as it is at one moment into the file `out`, complete or not at all."""
    part = out.with_name(out.name + ".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        # One file without companions, so that copying it further loses nothing.
        copy.execute("PRAGMA journal_mode = DELETE")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, out)


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy the database before it is changed; a copy that is there already stays, for it is the older one."""
    copy = path.with_name(f"{path.name}.before-{NEWEST}")
    if copy.exists():
        return
    (pages,), (page_bytes,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    needed = 3 * pages * page_bytes  # the copy, the wider table, and the log of the change
    free = disk_usage(path.absolute().parent).free
    if free < needed:
        raise SchemaError(
            f"{path} has to be brought to schema {NEWEST}, which needs {needed:,} bytes beside it for a copy and for"
            f" the change; {free:,} are free; make room on its disk and start again"
        )
    copy_database(connection, copy)


def _statements(script: str) -> Iterator[str]:
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
