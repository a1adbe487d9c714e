"""Reads a large database with two processes, in one state even while a daemon writes to it.

At a million frames and two processors this saves 19 to 40% of each report's time (docs/results/reports.md).
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from edge.report.errors import ReportError
from edge.report.processes import forking, ignore_ctrl_c, processors
from edge.report.read.connection import connect, open_for_reading

Made = TypeVar("Made")
Read = Callable[[sqlite3.Connection], Made]
WORTH_A_PROCESS_BYTES = 50_000_000
_TRIES = 100


@contextmanager
def connect_with_help(path: Path, read: Read[Made]) -> Iterator[tuple[sqlite3.Connection, Callable[[], Made]]]:
    """A connection as `connect` gives it, and a function for what `read` makes of the same state of the database.

    Of a large database `read` is at work meanwhile in a process of its own, where there is a processor for it.
    """
    if processors() < 2 or path.stat().st_size < WORTH_A_PROCESS_BYTES:
        with connect(path) as connection:
            yield connection, lambda: read(connection)
        return
    # Before this process opens the database: SQLite bears no fork with an open one.
    with forking() as processes:
        here, there = processes.Pipe()
        helper = processes.Process(target=_help, args=(path, read, here, there), daemon=True)
        helper.start()
    there.close()
    try:
        with here, connect(path) as connection:
            together = _same_state(path, connection, here)
            yield connection, lambda: _received(here, together, connection, read)
    finally:
        helper.kill()  # has nothing left to do, or nobody to do it for
        helper.join()


def _same_state(path: Path, connection: sqlite3.Connection, helper: Connection) -> bool:
    """Begin to read here and there so that no commit lies between; whether the helper is reading now."""
    try:
        with closing(open_for_reading(path)) as watch:
            for _ in range(_TRIES):
                before = _data_version(watch)
                _begin(connection)
                helper.send("begin")
                helper.recv()
                if _data_version(watch) == before:
                    helper.send("read")
                    return True
    except (EOFError, BrokenPipeError):
        pass  # what the helper met is met again by whoever reads here
    return False


def _received(helper: Connection, together: bool, connection: sqlite3.Connection, read: Read[Made]) -> Made:
    if together:
        try:
            made: Made = helper.recv()
        except EOFError:
            pass
        else:
            return made
    return read(connection)


def _help(path: Path, read: Read[object], parents: Connection, pipe: Connection) -> None:
    """In the process beside: begin as often as asked, then read."""
    ignore_ctrl_c()
    parents.close()
    try:
        with pipe, connect(path) as connection:
            while pipe.recv() == "begin":
                _begin(connection)
                pipe.send("begun")
            pipe.send(read(connection))
    except (EOFError, BrokenPipeError, ReportError, sqlite3.Error):
        os._exit(1)


def _begin(connection: sqlite3.Connection) -> None:
    """See the newest state, and that one from now on."""
    connection.rollback()
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_master").fetchone()


def _data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection commits."""
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version
