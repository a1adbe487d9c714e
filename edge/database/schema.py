"""Tables, views and migrations of the detections database. Columns may be added by migrations, never renamed."""

import sqlite3
from pathlib import Path

# Each entry brings the database from version N to N + 1 (`user_version`) and is never edited once released.
MIGRATIONS = (
    """
CREATE TABLE deployment (
    id TEXT PRIMARY KEY, latitude REAL, longitude REAL, time_zone TEXT, start TEXT, "end" TEXT, folder TEXT
);
CREATE TABLE model (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, name TEXT NOT NULL, version TEXT NOT NULL, card TEXT NOT NULL
);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, software_version TEXT NOT NULL,
    model INTEGER NOT NULL REFERENCES model (id), settings TEXT NOT NULL,
    ended_at TEXT               -- NULL while it runs, and for ever when it crashed or lost its power
);
CREATE TABLE media (
    id INTEGER PRIMARY KEY,
    path NOT NULL,              -- as last seen, absolute; TEXT when UTF-8, else BLOB
    digest TEXT,                -- BLAKE2b of the content, 160 bits; NULL while the bytes cannot be read
    bytes INTEGER NOT NULL,
    width_px INTEGER, height_px INTEGER,
    captured_at TEXT, captured_at_raw TEXT, time_zone TEXT, clock_doubt TEXT,
    received_at TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'classified', 'unreadable', 'unsupported')),
    reason TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    deployment TEXT REFERENCES deployment (id),
    infrared INTEGER,           -- 1 infra-red or greyscale, 0 colour
    scene BLOB                  -- uint8[12, 16], grey miniature: what stands still is compared over days
);
CREATE UNIQUE INDEX media_digest ON media (digest) WHERE status = 'classified';
CREATE UNIQUE INDEX media_unscored_path ON media (path) WHERE status <> 'classified';
CREATE INDEX media_unscored_digest ON media (digest) WHERE status <> 'classified';
CREATE INDEX media_captured ON media (captured_at);
CREATE INDEX media_deployment ON media (deployment, captured_at);
CREATE TABLE file (
    path PRIMARY KEY,           -- every path at which content was seen
    bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    media INTEGER NOT NULL REFERENCES media (id) ON DELETE CASCADE,
    seen_at TEXT NOT NULL,
    ctime_ns INTEGER            -- a repaired permission shows only here
) WITHOUT ROWID;
CREATE INDEX file_media ON file (media);
CREATE TABLE observation (
    id INTEGER PRIMARY KEY,
    media INTEGER NOT NULL REFERENCES media (id),
    run INTEGER REFERENCES run (id),
    model INTEGER REFERENCES model (id),
    subject INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL CHECK (kind IN ('animal', 'human', 'vehicle', 'blank', 'unknown')),
    taxon TEXT, rank TEXT, common_name TEXT,
    count INTEGER,
    confidence REAL,
    reason TEXT CHECK (reason IN ('confident', 'rolled_up', 'below_threshold', 'out_of_distribution', 'blank')),
    box_x REAL, box_y REAL, box_width REAL, box_height REAL,
    box_source TEXT CHECK (box_source IN ('attention', 'detector', 'imported', 'human')),
    method TEXT NOT NULL CHECK (method IN ('machine', 'human')),
    classified_by TEXT NOT NULL,
    classified_at TEXT NOT NULL,
    log_probabilities BLOB      -- float16[L], calibrated, before the species list
);
CREATE UNIQUE INDEX observation_machine ON observation (media, model, subject) WHERE method = 'machine';
CREATE INDEX observation_media ON observation (media);
CREATE INDEX observation_taxon ON observation (taxon);
CREATE TABLE candidate (
    observation INTEGER NOT NULL REFERENCES observation (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,     -- 1 is the most probable
    taxon TEXT NOT NULL, rank TEXT, probability REAL NOT NULL,
    PRIMARY KEY (observation, place)
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, deployment TEXT, kind TEXT NOT NULL, taxon TEXT, rank TEXT, common_name TEXT,
    start TEXT NOT NULL, "end" TEXT NOT NULL, media_count INTEGER NOT NULL, count INTEGER,
    confidence REAL, reason TEXT, method TEXT NOT NULL
);
CREATE TABLE event_media (
    event INTEGER NOT NULL REFERENCES event (id) ON DELETE CASCADE,
    media INTEGER NOT NULL REFERENCES media (id),
    PRIMARY KEY (event, media)
) WITHOUT ROWID;
CREATE INDEX event_media_media ON event_media (media);
CREATE TABLE heartbeat (
    at TEXT PRIMARY KEY, backlog INTEGER, free_bytes INTEGER, temperature_c REAL, clock_synchronised INTEGER
) WITHOUT ROWID;
CREATE TABLE pruned (media INTEGER NOT NULL, path NOT NULL, at TEXT NOT NULL, rule TEXT NOT NULL);
CREATE TABLE retime (
    deployment TEXT NOT NULL, shift_s REAL NOT NULL, at TEXT NOT NULL, "by" TEXT NOT NULL, note TEXT
);
-- One line per frame: what people saw if they looked, else what the newest run's model said.
CREATE VIEW detections AS
SELECT m.id AS media, m.captured_at, m.deployment, m.path, o.kind, o.taxon, o.rank, o.common_name, o.count,
       round(o.confidence, 4) AS confidence, o.reason, o.method, o.classified_by, m.clock_doubt,
       m.status, m.reason AS file_reason, o.id AS observation
FROM media m
LEFT JOIN observation o ON o.id = (
    SELECT p.id FROM observation p
    WHERE p.media = m.id AND p.subject = 0
    ORDER BY p.method = 'human' DESC,
             p.model = (SELECT model FROM run ORDER BY id DESC LIMIT 1) DESC,
             p.id DESC
    LIMIT 1
);
CREATE VIEW species_summary AS
SELECT taxon, rank, common_name, count(*) AS frames, min(captured_at) AS first_seen, max(captured_at) AS last_seen,
       round(avg(confidence), 3) AS mean_confidence
FROM detections WHERE kind = 'animal' GROUP BY taxon, rank ORDER BY frames DESC;
""",
)


JOURNAL_LIMIT_BYTES = 64_000_000  # a slow reader lets the log grow; afterwards it gives the space back


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
    connection.execute("PRAGMA foreign_keys = ON")
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
        migrate(connection, path)
    return connection


def migrate(connection: sqlite3.Connection, path: Path | str) -> None:
    """Bring the database to the newest version, one transaction for each step."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise SchemaError(
            f"{path} was written by a newer edge-classify (schema {version}, this one knows {len(MIGRATIONS)}); "
            "install the newer version or choose another file with --db"
        )
    if version == len(MIGRATIONS):
        return
    from sqlite_utils import Database  # a fifth of a second that a database which is up to date does not need

    database = Database(connection)
    if version == 0 and database.table_names():
        raise SchemaError(f"{path} is a database of something else; choose another file with --db")
    for step in range(version, len(MIGRATIONS)):
        database.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
