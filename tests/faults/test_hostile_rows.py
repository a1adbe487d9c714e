"""Databases with rows that cannot be, through every format of `edge-report`: named and left out, never a traceback."""

import csv
import json
import random
import resource
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.commands.report import main
from edge.commands.report_formats import FORMATS
from tests.support.daemon_process import Tally
from tests.support.database_by_hand import ByHand, shares
from tests.support.requirements import LONG

SEED = 22
ROWS = 5000 if LONG else 300
ROWS_AT_ONCE = 5
HANG_S = 5.0
MOST_LINES = 60

VALUES: list[Any] = [
    *(None, 0, -1, 1, 2, 5.5, 1e308, -1e308, float("inf"), 2**31, 2**53, 2**63 - 1, -(2**63), 4_000_000_000),
    *("", " ", "abc", "now", "12:00", "2459000.5", "animal", "future", "static", "0", "1", "[]", "{}", "null"),
    *("0000-00-00T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-31T10:00:00Z", "2026-05-01"),
    *("2026-05-01T06:00:00+14:00", "-4713-11-24", "+12026-01-01T00:00:00Z", "Europe/Nowhere", "../../etc/passwd"),
    *("\x00", "a\x00b", "a\nb", "\x1b[31m", "\x1f", "a\x1fb", "\u202e", "=1+1", "\ufffe", "é" * 500, "x" * 100_000),
    *(b"", b"\x00", b"abc", b"\xff\xfe", b"\x00\x7c\x00\xfc", bytes(192), bytes(7), bytes(100_000)),
]
NO_UTF8 = ("ff41", "c328", "eda080", "f4908080", "80")

TABLES = {
    "media": "path digest captured_at captured_at_raw time_zone clock_doubt received_at status reason deployment "
    "infrared scene bytes width_px id time_source image_doubt image_digest attempts",
    "observation": "id media run model configuration revision revises subject kind taxon rank common_name count "
    "count_confirmed confidence rejection_score reason box_x box_y box_width box_height box_source life_stage sex "
    "behaviour individual_id note method classified_by classified_at act line withdraws log_probabilities",
    "candidate": "observation place taxon rank probability",
    "event": "id deployment kind taxon rank common_name start end media_count count confidence reason method",
    "event_media": "event media",
    "heartbeat": "at backlog free_bytes temperature_c clock_synchronised",
    "deployment": "id latitude longitude time_zone start end folder",
    "model": "id sha256 name version card",
    "run": "started_at software_version model settings ended_at configuration",
    "configuration": "digest document",
    "pin": "model configuration at by",
    "file": "path bytes mtime_ns media seen_at",
    "correction": "media deployment field old new at by note undoes retime",
    "retime": "deployment shift_s at by note undoes",
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with something in every table."""
    database = ByHand(tmp_path_factory.mktemp("rows") / "d.db", zone="Africa/Nairobi")
    execute = database.connection.execute
    for place in ("ford", "ridge"):
        database.deployment(place, latitude=-2.4, longitude=36.9, time_zone="Africa/Nairobi", start="2026-04-30")
    for n in range(60):
        what = ("lion", "impala", "blank", "human", "unknown")[n % 5]
        camera = ("ford", "ridge")[n % 2]
        media = database.frame(
            1800 * n, what, 0.9, camera, scene=bytes(range(192)), infrared=n % 2, logs=shares(lion=0.6, leopard=0.2)
        )
        execute("INSERT INTO file VALUES (?, 1, 1, ?, '2026-05-01T06:00:00Z', 1)", (f"/frames/{n}.JPG", media))
        if n % 4 == 0:
            database.answer(media, "lion", by="Ana", count=2, sex="male", note="near", box=(0.1, 0.1, 0.2, 0.2))
        if n % 7 == 0:
            database.answer(media, what, subject=1, box=(0.1, 0.1, 0.2, 0.2))
    execute(
        "INSERT INTO candidate SELECT id, 1, 'Panthera leo', 'species', 0.5 FROM observation WHERE method='machine'"
    )
    database.unreadable("/frames/half.JPG")
    for n in range(48):
        execute(
            "INSERT INTO heartbeat (at, backlog, free_bytes, clock_synchronised) VALUES (?, 0, ?, 1)",
            (f"2026-05-0{1 + n // 24}T{n % 24:02d}:00:00Z", 10**9 - n),
        )
    execute(
        "INSERT INTO event VALUES (1, 'ford', 'animal', 'Panthera leo', 'species', 'lion', '2026-05-01T06:00:00Z',"
        " '2026-05-01T06:00:00Z', 1, 1, 0.9, 'confident', 'machine')"
    )
    execute("INSERT INTO event_media VALUES (1, 1)")
    execute("INSERT INTO correction (media, field, old, new, at, by) VALUES (1, 'deployment', 'a', 'ford', 'x', 'me')")
    execute("INSERT INTO retime (deployment, shift_s, at, by) VALUES ('ford', 3600, '2026-05-01T06:00:00Z', 'me')")
    execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.connection.close()
    return database.path.read_bytes()


def spoil(connection: sqlite3.Connection, chance: random.Random) -> str:
    """Put one value where it cannot be; gives what was done."""
    table = chance.choice([*TABLES, "media", "media", "observation", "observation"])
    column = chance.choice(TABLES[table].split())
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    if not rows:
        return ""
    limit = f"LIMIT 1 OFFSET {chance.randrange(rows)}"
    keys = {"candidate": "observation", "event_media": "event", "heartbeat": "at", "file": "path"}
    key = keys.get(table, "rowid")
    which = f"{key} = (SELECT {key} FROM {table} {limit})"
    given: tuple[Any, ...] = ()
    if chance.random() < 0.1:
        text = chance.choice(NO_UTF8)
        value = f"CAST(x'{text}' AS TEXT)"
    else:
        value, given = "?", (chance.choice(VALUES),)
    try:
        if chance.random() < 0.3:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(
                value if name == column else f'"{name}"' for name in names if name != "id" or column == "id"
            )
            into = ", ".join(f'"{name}"' for name in names if name != "id" or column == "id")
            connection.execute(f"INSERT INTO {table} ({into}) SELECT {chosen} FROM {table} WHERE {which}", given)
        else:
            connection.execute(f'UPDATE {table} SET "{column}" = {value} WHERE {which}', given)
    except sqlite3.Error as error:  # unique, not null
        return f"({error})"
    return f"{table}.{column} {value} {given!r:.60}"


def cycles(connection: sqlite3.Connection, chance: random.Random) -> None:
    ids = [id_ for (id_,) in connection.execute("SELECT id FROM observation WHERE method = 'human'")]
    for one in chance.sample(ids, min(6, len(ids))):
        column = chance.choice(["withdraws", "revises"])
        connection.execute(f"UPDATE observation SET {column} = ? WHERE id = ?", (chance.choice(ids), one))


def is_sound(name: str, out: Path) -> None:
    """What was written is what the format says."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    if name in ("jsonl", "megadetector"):
        texts = out.read_text("utf-8").splitlines() if name == "jsonl" else [out.read_text("utf-8")]
        for text in texts:
            json.loads(text, parse_constant=refuse)
    elif name == "camtrap-dp":
        json.loads((out / "datapackage.json").read_text("utf-8"), parse_constant=refuse)
    tables = [out] if name in ("csv", "events") else sorted(out.glob("*.csv")) if out.is_dir() else []
    for table in tables:
        with table.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        assert len({len(line) for line in lines}) == 1, table
        cells = {cell.lower() for line in lines for cell in line}
        assert not cells & {"nan", "inf", "-inf", "infinity"}, table


STUDY = """
[project]
title = "made"
contributors = [{title = "Ana", role = "contact"}]
sampling_design = "opportunistic"
capture_method = "activityDetection"
"""


@pytest.mark.parametrize("name", [format_.name for format_ in FORMATS])
def test_hostile_rows(
    name: str,
    tmp_path: Path,
    pristine: bytes,
    capsys: pytest.CaptureFixture[str],
    report: Callable[[Tally], None],
) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    codes: Counter[int] = Counter()
    slowest, rows = 0.0, 0
    for number in range(ROWS // ROWS_AT_ONCE):
        chance = random.Random(f"{SEED} {number}")
        db, out = tmp_path / f"{number}.db", tmp_path / f"{number}.out"
        db.write_bytes(pristine)
        with sqlite3.connect(db, isolation_level=None) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            done = [spoil(connection, chance) for _ in range(ROWS_AT_ONCE)]
            if number % 10 == 0:
                cycles(connection, chance)
        connection.close()
        words = ["--all-taxa"] if name == "detection-history" else ["--min-events", "1"] if name == "activity" else []
        words += ["--config", str(study)] if name == "camtrap-dp" else []
        words += ["--json"] if name == "digest" and number % 2 else []
        to = [] if name in ("csv", "jsonl", "events") and number % 2 else ["--out", str(out)]
        began = time.perf_counter()
        code = main([name, "--db", str(db), *to, *words])
        slowest = max(slowest, time.perf_counter() - began)
        err = capsys.readouterr().err.splitlines()
        assert code in (0, 1, 2), (number, done)
        told = [line for line in err if "left out" not in line]  # rows are named before, also of what is refused
        assert code != 2 or len(told) <= 2, (number, err)
        assert len(err) <= MOST_LINES, (number, err)
        assert all(line.isprintable() for line in err), (number, err)
        assert code != 0 or not any("left out" in line and "expected" in line for line in err), (number, err)
        assert slowest < HANG_S, (number, done)
        if to and code != 2 and out.exists():
            is_sound(name, out)
        codes[code] += 1
        rows += len(done)
        for made in (db, *tmp_path.glob(f"{number}.db*")):
            made.unlink(missing_ok=True)
    assert codes[2] <= codes[0] + codes[1]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note = f"seed {SEED}; {codes[0]} whole, {codes[1]} in part, {codes[2]} refused; slowest {slowest:.1f} s"
    report(Tally(f"hostile rows: {name}", rows, rows, 0, 0, f"{note}; at most {peak_mb:.0f} MB"))
