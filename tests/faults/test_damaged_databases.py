"""Random damage to databases of several kinds: each ends in a working daemon that logs the next frame.

`FAULTS_DAMAGES` is the number of damaged databases, `FAULTS_SEED` the first seed. The rows that come out are compared
with those of the undamaged database, and where a shell of SQLite with `.recover` is there (`SQLITE3_SHELL`; that of
Debian is built without what it needs), with what that recovers.
"""

import os
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from edge.commands.classify import main
from edge.database.repair.identification import leave_mark
from edge.database.repair.recovery import open_or_repair
from edge.database.schema import SchemaError, open_database
from edge.image.decode import digest
from tests.faults.damaged_databases import Compared, Rows, compare, damage, make, recovered_by_sqlite, rows_of
from tests.support.daemon_process import Tally
from tests.support.made_images import noisy_jpeg
from tests.support.requirements import LONG
from tests.support.signal_handlers import keep_signals

CASES = int(os.environ.get("FAULTS_DAMAGES", "2000" if LONG else "20"))
SEED = int(os.environ.get("FAULTS_SEED", "0"))
KINDS = ("flips", "swapped", "garbled", "truncated", "old")
LIMIT_S = 60.0


class Origin:
    """An undamaged database, once with its log moved into it and once with the log beside it."""

    def __init__(self, folder: Path, version: int, frames: int) -> None:
        self.folder = folder
        self.version = version
        self.path = make(folder, version, frames, seed=frames)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("UPDATE media SET attempts = 2 WHERE id % 3 = 0")
            connection.commit()
            for end in ("", "-wal"):
                shutil.copyfile(f"{self.path}{end}", folder / f"logged{end}")
        shutil.copyfile(self.path, folder / "plain")
        self.whole = folder / "whole.db"
        shutil.copyfile(self.path, self.whole)
        open_database(self.whole, keep_copy=False).close()
        self.rows: Rows = rows_of(self.whole)

    def put_back(self, has_log: bool) -> None:
        """Undo what was done to the database, in the same inode; nothing but it is left."""
        for path in self.folder.glob("detections.db?*"):
            path.unlink()
        shutil.rmtree(self.folder / ".detections.db.salvage", ignore_errors=True)
        self.path.write_bytes((self.folder / ("logged" if has_log else "plain")).read_bytes())
        if has_log:
            shutil.copyfile(self.folder / "logged-wal", f"{self.path}-wal")
        if self.version > 1:
            with closing(sqlite3.connect(f"{self.whole.as_uri()}?mode=ro", uri=True)) as connection:
                leave_mark(self.path, connection)

    def content(self) -> dict[str, bytes]:
        parts = {end: Path(f"{self.path}{end}") for end in ("", "-wal")}
        return {end: part.read_bytes() for end, part in parts.items() if part.exists()}


def test_every_damaged_database_ends_in_a_working_daemon(
    tmp_path: Path, tiny_model: Path, report: Callable[[Tally], None], capfd: pytest.CaptureFixture[str]
) -> None:
    origins: dict[tuple[int, int], Origin] = {}
    found = {kind: Compared() for kind in KINDS}
    recovered = {kind: Compared() for kind in KINDS}
    refused = dict.fromkeys(KINDS, 0)
    slowest = 0.0
    problems: list[object] = []
    for seed in range(SEED, SEED + CASES):
        kind, chance = KINDS[seed % len(KINDS)], random.Random(seed)
        key = (1 if kind == "old" else 2, chance.choice((20, 60, 200, 400)))
        if key not in origins:
            origins[key] = Origin(tmp_path / f"{key[0]}-{key[1]}", *key)
        origin = origins[key]
        origin.put_back(has_log=chance.random() < 0.3)
        damage(origin.path, kind, chance)
        content = origin.content()
        if os.environ.get("SQLITE3_SHELL"):
            recovered[kind].add(compare(origin.rows, _recovered(origin), b"".join(content.values())))
        began = time.monotonic()
        try:
            open_or_repair(origin.path).close()
        except SchemaError:
            # Nothing is left of it that says whose it is, and version 0.1.0 left no mark beside it.
            refused[kind] += 1
            problems += [(seed, kind, "refused")] if kind != "old" or origin.content() != content else []
            continue
        compared = compare(origin.rows, rows_of(origin.path), b"".join(content.values()))
        found[kind].add(compared)
        problems += _problems(origin, content, compared, seed, kind)
        problems += _next_frame(origin, tiny_model, seed, kind)
        slowest = max(slowest, time.monotonic() - began)
    capfd.readouterr()
    for kind in KINDS:
        shares = found[kind].describe()
        if recovered[kind].before:
            shares += f"; SQLite's .recover: {recovered[kind].describe()}"
        sys.stderr.write(f"{kind}: {shares}; {refused[kind]} refused\n")
    assert not problems, problems[:20]
    assert slowest < LIMIT_S
    report(Tally("damaged databases", CASES, CASES, 0, 0, f"slowest {slowest:.1f} s; refused {sum(refused.values())}"))


def _recovered(origin: Origin) -> Rows:
    out = origin.folder / "recovered.db"
    out.unlink(missing_ok=True)
    recovered_by_sqlite(origin.path, out)
    with closing(sqlite3.connect(out)) as connection:
        connection.execute(f"PRAGMA user_version = {origin.version}")
    with suppress(sqlite3.Error, SchemaError, ValueError, TypeError, KeyError):
        open_database(out, keep_copy=False).close()
    return rows_of(out)


def _problems(origin: Origin, content: dict[str, bytes], compared: Compared, seed: int, kind: str) -> list[object]:
    problems: list[object] = [(seed, kind, "invented", value) for value in compared.invented]
    if compared.differ and kind in ("swapped", "truncated"):
        problems.append((seed, kind, "rows that differ", compared.differ))
    with closing(sqlite3.connect(origin.path)) as connection:
        if (verdict := connection.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            problems.append((seed, kind, verdict))
    aside = [path for path in origin.folder.glob("detections.db.damaged-*") if path.name[-4:] not in ("-shm", "-wal")]
    if aside:
        if any(Path(f"{aside[0]}{end}").read_bytes() != data for end, data in content.items()):
            problems.append((seed, kind, "the damaged file was changed"))
        for path, digest_ in _keys(origin.path):
            if isinstance(path, str) and os.path.isfile(path) and digest(Path(path).read_bytes()) != digest_:
                problems.append((seed, kind, "its file contradicts the digest", path))
    return problems


def _keys(path: Path) -> list[tuple[object, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT path, digest FROM media").fetchall()


def _next_frame(origin: Origin, model: Path, seed: int, kind: str) -> list[object]:
    """Classify one more frame; gives what went wrong."""
    captures = origin.folder / "next"
    shutil.rmtree(captures, ignore_errors=True)
    captures.mkdir()
    frame = captures / "next.jpg"
    frame.write_bytes(noisy_jpeg(10**7 + seed, height=24, width=32, block_px=8))
    with keep_signals():
        code = main([str(captures), "--db", str(origin.path), "--model", str(model), "-q", "--min-free-bytes", "0"])
    with closing(sqlite3.connect(origin.path)) as connection:
        query = "SELECT count(*) FROM media m JOIN observation o ON o.media = m.id WHERE m.digest = ? AND status = ?"
        (logged,) = connection.execute(query, (digest(frame.read_bytes()), "classified")).fetchone()
    return [] if (code, logged) == (0, 1) else [(seed, kind, f"exit code {code}, logged {logged} times")]
