"""Copy of a database while it is in use."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path


def back_up(db: Path, out: Path) -> None:
    """Copy the database as it is at one moment, with what only its write-ahead log holds; complete or not at all."""
    part = out.with_name(out.name + ".part")
    part.unlink(missing_ok=True)
    original = f"{db.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(original, uri=True, timeout=10)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        # One file without companions, so that copying it further loses nothing.
        copy.execute("PRAGMA journal_mode = DELETE")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, out)
