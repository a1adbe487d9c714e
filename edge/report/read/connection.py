"""Opening detections databases for reading, also while a daemon writes them or from a card that cannot be written."""

import atexit
import logging
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from shutil import rmtree

from edge.database.schema import NEWEST, SchemaError, copy_database, migrate, open_database, version_of
from edge.report.errors import ReportError
from edge.report.read.sound_rows import BadRows, find_bad_rows, hide_bad_rows, show_all_rows

log = logging.getLogger(__name__)

_NAMED = """
SELECT DISTINCT named.value FROM run, json_each(iif(json_valid(settings), settings, '{}')) named
WHERE named.key IN ('model', 'detector', 'species_list', 'config')
"""
SMALL_BYTES = 50_000_000
SUFFIXES = (".db", ".sqlite", ".sqlite3")


def find_databases(given: Sequence[Path]) -> list[Path]:
    """The files given, and for a folder every database in it. Raises `ReportError` for what isn't there."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise ReportError(f"{path}: no file in it ends in {', '.join(SUFFIXES)}; name the database with --db")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ReportError(f"{path}: no such database; `edge-classify` makes one, --db names another")
    return list(dict.fromkeys(p.resolve() for p in found))


def files_named(path: Path) -> list[Path]:
    """The models, species lists and configurations that the runs of a database name. Raises `ReportError`."""
    with connect(path) as connection:
        found = connection.execute(_NAMED).fetchall()
    return [Path(name) for (name,) in found if isinstance(name, str) and name]


@contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection in one consistent state: what a daemon commits meanwhile is not seen.

    Raises `ReportError` when the file is no detections database.
    """
    connection = open_for_reading(path)
    try:
        version = version_of(connection, path)
        if version == 0:
            raise ReportError(f"{path} holds no detections; `edge-classify --db {path.name}` fills one")
        if version < NEWEST:
            connection.close()
            connection = open_for_reading(_migrated_copy(path))
        hide_bad_rows(connection, path)
        connection.execute("BEGIN")
        yield connection
    except SchemaError as error:
        raise ReportError(str(error)) from error
    except sqlite3.DatabaseError as error:
        raise ReportError(
            f"{path}: {error}; is it a detections database? `edge-db salvage` saves what is left"
        ) from error
    finally:
        connection.close()


def check_rows(path: Path, thorough: bool) -> BadRows:
    """Check every row that reports read; from now on `connect` hides those that cannot be used."""
    show_all_rows(path)
    with connect(path) as connection:
        return find_bad_rows(connection, path, thorough)


def is_small(path: Path) -> bool:
    """Whether the rows of a database are checked within a fraction of a second."""
    return path.stat().st_size < SMALL_BYTES


@cache
def _migrated_copy(path: Path) -> Path:
    """A database of an older schema as a migrated copy in a temporary folder, which ends with this process."""
    log.warning(
        "%s has an older schema, so a copy is read; start edge-classify with it once to bring it up to date", path
    )
    folder = tempfile.mkdtemp(prefix="edge-report-")
    atexit.register(rmtree, folder, ignore_errors=True)
    copy = Path(folder) / path.name
    with closing(open_for_reading(path)) as connection:
        copy_database(connection, copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        migrate(connection, copy, keep_copy=False)
    return copy


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection; raises `ReportError` for what is no database or cannot be read here."""
    try:
        connection = open_database(path, read_only=True)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        # A write-ahead log needs a file beside the database; on a medium that cannot be written and without a
        # log left behind, the file alone is the whole truth.
        if path.with_name(path.name + "-wal").exists():
            raise ReportError(
                f"{path}: {error}; copy it together with its -wal file to a disk and try again"
            ) from error
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.DatabaseError as error:
        raise ReportError(f"{path}: {error}; is it a detections database?") from error
    return connection
