"""Which of SQLite's errors are the disk's or another process's, and pass; the others tell of damage."""

import sqlite3

_PASSING = frozenset(
    {
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS),
    }
)


def is_passing(error: Exception) -> bool:
    """Whether it is an error of SQLite, after which the same call may succeed later on the same file."""
    if not isinstance(error, sqlite3.Error):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not str(error).startswith("Could not decode")  # the module's own: a text that is no UTF-8
    return code & 0xFF in _PASSING and code != sqlite3.SQLITE_IOERR_SHORT_READ
