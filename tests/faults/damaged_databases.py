"""Databases of several kinds and sizes, five ways to damage them, and what is left of their rows afterwards."""

import os
import random
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.database.migrations import VERSION_1
from edge.database.schema import open_database
from edge.image.decode import digest
from tests.support.made_images import noisy_jpeg
from tests.support.made_survey import CARD

PAGE = 4096
LABELS = len(CARD.labels)
ON_DISK = 12
"""Frames of each database that are still on the disk."""
KEYS = {
    "deployment": ("id",), "model": ("id",), "configuration": ("id",), "run": ("id",), "media": ("id",),
    "observation": ("id",), "candidate": ("observation", "place"), "file": ("path",), "heartbeat": ("at",),
    "pruned": ("media", "path"), "retime": ("id",), "pin": ("id",), "correction": ("id",), "embedding": ("id",),
    "stale": ("media", "model", "configuration"),
}  # fmt: skip
Rows = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]


MOMENT = "2026-06-01T00:00:00.000Z"
TAXA = [(label.taxon.scientific_name, label.taxon.rank, label.common_name) for label in CARD.labels if label.taxon]


def make(folder: Path, version: int, frames: int, seed: int) -> Path:
    """A database with every kind of row; the first frames are files in `folder`."""
    chance = random.Random(seed)
    path = folder / "detections.db"
    (folder / "captures").mkdir(parents=True, exist_ok=True)
    if version == 1:
        with closing(sqlite3.connect(path)) as made:
            made.executescript(VERSION_1 + "PRAGMA user_version = 1; PRAGMA journal_mode = WAL;")
    else:
        open_database(path).close()
    configuration = {"configuration": 1} if version > 1 else {}
    with closing(sqlite3.connect(path)) as connection:
        for id_ in ("ridge", "ford"):
            _insert(
                connection, "deployment", id=id_, latitude=-1.5, longitude=36.5, time_zone="UTC", folder=f"/x/{id_}"
            )
        for number in (1, 2):
            card = CARD.to_json()
            _insert(connection, "model", id=number, sha256=f"{number:064x}", name="made", version="1", card=card)
            run = {"id": number, "started_at": MOMENT, "software_version": "0.1.0", "model": number, "settings": "{}"}
            _insert(connection, "run", **run, **configuration)
        for number in range(1, frames + 1):
            _insert_frame(connection, folder, number, frames, chance, version)
        for hour in range(48):
            at = f"2026-06-{1 + hour // 24:02}T{hour % 24:02}:00:00.000Z"
            _insert(connection, "heartbeat", at=at, backlog=0, free_bytes=5_000_000, temperature_c=41.5)
        _insert(connection, "pruned", media=2, path="/x/2.jpg", at=MOMENT, rule="keep-best 20")
        _insert(connection, "retime", deployment="ridge", shift_s=60.5, at=MOMENT, by="Ana", note="an hour")
        if version > 1:
            _insert(connection, "pin", model=1, configuration=1, at=MOMENT, by="Ana")
        connection.commit()
    return path


def _insert_frame(
    connection: sqlite3.Connection, folder: Path, number: int, frames: int, chance: random.Random, version: int
) -> None:
    """One frame with its file, its decision and candidates; some have a label and a correction by a person."""
    camera = "ridge" if number % 3 else "ford"
    if number <= ON_DISK:
        file = folder / "captures" / f"{number:04}.jpg"
        file.write_bytes(noisy_jpeg(chance.randrange(10**6), height=24, width=32, block_px=8))
        content, at = file.read_bytes(), file.stat()
        name, size, mtime_ns, ctime_ns = str(file), at.st_size, at.st_mtime_ns, at.st_ctime_ns
    else:
        content, name = b"%d" % number, f"/media/card/{camera}/DCIM/100MEDIA/IMG_{number:05}.JPG"
        size, mtime_ns, ctime_ns = 1_000_000 + number, 1_777_777_777_000_000_000 + number, 1_777_777_778_000_000_000
    taken = f"2026-05-{1 + number * 27 // (frames + 1):02}T{number % 24:02}:{number % 60:02}:{number % 59:02}.000Z"
    media = {
        "id": number,
        "path": name,
        "digest": digest(content),
        "bytes": size,
        "captured_at": taken,
        "width_px": 4000,
        "height_px": 3000,
        "captured_at_raw": taken[:19].replace("-", ":").replace("T", " "),
        "time_zone": "UTC",
        "received_at": MOMENT,
        "status": "classified",
        "attempts": 1,
        "deployment": camera,
        "infrared": number % 2,
        "scene": chance.randbytes(192),
    }
    if version > 1 and number % 2:
        media |= {"image_digest": digest(b"image" + content), "time_source": "DateTimeOriginal"}
    _insert(connection, "media", **media)
    seen = {"bytes": size, "mtime_ns": mtime_ns, "ctime_ns": ctime_ns, "media": number, "seen_at": MOMENT}
    _insert(connection, "file", path=name, **seen)
    shares = np.array([chance.random() for _ in range(LABELS)])
    decision = {
        "media": number,
        "run": 1,
        "model": 1,
        "kind": "animal",
        "count": 1,
        "confidence": round(chance.random(), 6),
        "reason": "confident",
        "method": "machine",
        "classified_by": "made 1",
        "classified_at": MOMENT,
        "log_probabilities": np.log(shares / shares.sum()).astype(np.float16).tobytes(),
        **({"configuration": 1} if version > 1 else {}),
    }
    observation = _insert(connection, "observation", **decision, **_named(chance.choice(TAXA)))
    for place, (taxon, rank, _) in enumerate(chance.sample(TAXA, 3), 1):
        candidate = {"observation": observation, "place": place, "taxon": taxon, "rank": rank}
        _insert(connection, "candidate", **candidate, probability=0.5 / place)
    if version > 1 and number % 9 == 0:
        features = {"observation": observation, "look": 0, "backbone": "b", "scale": 0.5, "vector": bytes(64)}
        _insert(connection, "embedding", **features)
    if number % 6 == 0:
        label = {"media": number, "kind": "animal", "count": 2, "method": "human", "classified_at": MOMENT}
        act = {"act": f"form {number}", "line": 0} if version > 1 else {}
        by = chance.choice(("Ana", "Ben Müller"))
        _insert(connection, "observation", **label, classified_by=by, **_named(chance.choice(TAXA)), **act)
    if version > 1 and number % 7 == 0:
        _insert(connection, "correction", media=number, field="deployment", old="ford", new=camera, at=MOMENT, by="Ana")


def _named(taxon: tuple[str, str, str]) -> dict[str, Any]:
    return dict(zip(("taxon", "rank", "common_name"), taxon, strict=True))


def _insert(connection: sqlite3.Connection, table: str, **values: Any) -> int:
    names, marks = ", ".join(f'"{name}"' for name in values), ", ".join("?" * len(values))
    return connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values())).lastrowid or 0


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """Damage the database, or the log beside it, in its place."""
    if kind == "old":
        kind = chance.choice(("flips", "swapped", "garbled", "truncated"))
    if kind == "garbled":
        _garble(path, chance)
        return
    log = path.with_name(path.name + "-wal")
    target = log if log.exists() and log.stat().st_size and chance.random() < 0.2 else path
    content = bytearray(target.read_bytes())
    if kind == "flips":
        for _ in range(chance.choice((1, 2, 5, 20, 100))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif kind == "swapped":
        last = len(content) // PAGE
        for _ in range(chance.choice((1, 1, 2, 4, 10))):
            one, other = (PAGE * chance.randrange(last) for _ in range(2))
            content[one : one + PAGE], content[other : other + PAGE] = (
                content[other : other + PAGE], content[one : one + PAGE],
            )  # fmt: skip
    elif kind == "truncated":
        content = content[: int(len(content) * chance.choice((0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, chance.random())))]
    target.write_bytes(content)


GARBAGE: tuple[Any, ...] = (
    *(
        None,
        "",
        "x",
        "\x00",
        "2026-13-45T99:99:99.000Z",
        "0001-01-01T00:00:00Z",
        "Ω" * 3000,
        -1,
        0,
        2**63 - 1,
        -(2**63),
    ),
    *(1e308, float("inf"), 0.5, b"\xff\xfe", b"", "nan", "[]", "{", "animal", "/etc/passwd"),
)


def _garble(path: Path, chance: random.Random) -> None:
    """Wrong values through SQL: of other types, out of range, one character off, text that is no UTF-8."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for _ in range(chance.choice((1, 3, 10, 40))):
            table = chance.choice([t for t in KEYS if _exists(connection, t)])
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            column, key = chance.choice(columns), KEYS[table][0]
            row = connection.execute(f'SELECT "{key}", "{column}" FROM {table} ORDER BY random() LIMIT 1').fetchone()
            if row is None:
                continue
            way = chance.random()
            value: Any = chance.choice(GARBAGE)
            if way < 0.4 and isinstance(row[1], str) and row[1]:
                at = chance.randrange(len(row[1]))
                value = row[1][:at] + chr(ord(row[1][at]) ^ 1) + row[1][at + 1 :]
            with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                if 0.4 <= way < 0.5:
                    connection.execute(
                        f'UPDATE OR IGNORE {table} SET "{column}" = CAST(x\'61ff62\' AS TEXT) WHERE "{key}" IS ?',
                        row[:1],
                    )
                else:
                    connection.execute(
                        f'UPDATE OR IGNORE {table} SET "{column}" = ? WHERE "{key}" IS ?', (value, row[0])
                    )
        if chance.random() < 0.1:
            connection.execute(f"PRAGMA user_version = {chance.choice((0, 1, 2, 3, 66))}")


def _exists(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def rows_of(path: Path) -> Rows:
    """All rows of the tables that are compared, by key, in the newest version's columns."""
    found: Rows = {}
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        for table, keys in KEYS.items():
            found[table] = {}
            with suppress(sqlite3.DatabaseError, ValueError):  # what another's recovery made may be no such table
                cursor = connection.execute(f"SELECT * FROM {table}")
                places = [[column[0] for column in cursor.description].index(key) for key in keys]
                for row in cursor:
                    found[table][tuple(row[place] for place in places)] = row
    return found


@dataclass
class Compared:
    """How the rows that came out compare with those of the undamaged database."""

    before: int = 0
    same: int = 0
    differ: int = 0
    emptied: int = 0
    """Rows that lack a value, and are right in all others."""
    human_before: int = 0
    human_same: int = 0
    invented: list[Any] = field(default_factory=list)
    """Digests and paths that neither the undamaged database nor the damaged bytes hold."""

    def add(self, other: "Compared") -> None:
        for name in ("before", "same", "differ", "emptied", "human_before", "human_same"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.invented += other.invented

    def describe(self) -> str:
        share = "{:.2f} %".format
        return (
            f"{share(100 * self.same / max(1, self.before))} of {self.before} rows the same, {self.emptied} lack a"
            f" value, {self.differ} ({share(100 * self.differ / max(1, self.before))}) other; of people's"
            f" {share(100 * self.human_same / max(1, self.human_before))} of {self.human_before} rows"
        )


HUMAN = ("correction", "retime", "pin")


def compare(before: Rows, after: Rows, bytes_of_damaged: bytes) -> Compared:
    result = Compared()
    keys = {value for row in before["media"].values() for value in row[1:3]} | {path for (path,) in before["file"]}
    for table, rows in before.items():
        result.before += len(rows)
        human = {key for key, row in rows.items() if table in HUMAN or (table == "observation" and "human" in row)}
        result.human_before += len(human)
        for key, row in after[table].items():
            if rows.get(key) == row:
                result.same += 1
                result.human_same += key in human
            elif any(isinstance(value, str) and value.startswith("lost ") for value in row):
                pass  # a row that stands for one which was lost, and says so
            elif (table == "deployment" and row[1:] == (None,) * 6) or (table == "pin" and row[-1] == "edge-classify"):
                pass  # the same
            elif key in rows and all(
                new == old or new in (None, "{}") for new, old in zip(row, rows[key], strict=True)
            ):
                result.emptied += 1
            else:
                result.differ += 1
            if table == "media" or table == "file":
                result.invented += [v for v in row[1:3] if table == "media" and _is_invented(v, keys, bytes_of_damaged)]
                result.invented += [v for v in row[:1] if table == "file" and _is_invented(v, keys, bytes_of_damaged)]
    return result


def _is_invented(value: Any, keys: set[Any], damaged: bytes) -> bool:
    if value is None or value in keys:
        return False
    raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    return raw not in damaged


def recovered_by_sqlite(damaged: Path, out: Path, limit_s: float = 60) -> bool:
    """What `.recover` of SQLite's own shell makes of it; gives whether it ended in time."""
    shell = os.environ.get("SQLITE3_SHELL") or shutil.which("sqlite3")
    assert shell is not None
    copy = out.with_name("copied.db")
    for end in ("", "-wal"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{damaged}{end}", f"{copy}{end}")
    try:
        read = subprocess.run([shell, str(copy), ".recover"], capture_output=True, timeout=limit_s, check=False)
        subprocess.run([shell, str(out)], input=read.stdout, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return False
    finally:
        for end in ("", "-wal", "-shm"):
            Path(f"{copy}{end}").unlink(missing_ok=True)
    return True
