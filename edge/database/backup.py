"""Copy of a database while it is in use."""

import sqlite3
from contextlib import closing
from pathlib import Path

from edge.database.schema import copy_database


def back_up(db: Path, out: Path) -> None:
    """Copy the database as it is at one moment, with what only its write-ahead log holds; complete or not at all."""
    with closing(sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as source:
        copy_database(source, out, anew=True)
