"""Migrations of the detections database: each one brings it from one version of the schema to the next.

A migration is never edited once it was released, so its closed vocabularies stand as they were then; a test compares
the schema that all of them give together with `edge.vocabulary`. Columns are added, never renamed.
"""

from edge.database.effective_observation import VIEWS

VERSION_1 = """
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
"""

# Every row of version 1 keeps its place and its values. `observation` is made anew, for SQLite cannot widen a CHECK.
VERSION_2 = f"""
DROP VIEW species_summary;
DROP VIEW detections;

CREATE TABLE configuration (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE, -- SHA-256 of the document
    document TEXT NOT NULL       -- canonical JSON of every setting but the model's file that changes a decision
);
CREATE TABLE pin (               -- whose decisions count; the newest row does
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES model (id), configuration INTEGER NOT NULL REFERENCES configuration (id),
    at TEXT NOT NULL, "by" TEXT NOT NULL
);
ALTER TABLE run ADD COLUMN configuration INTEGER REFERENCES configuration (id);

ALTER TABLE heartbeat ADD COLUMN problem TEXT;    -- what kept the watch from seeing every file as it came
ALTER TABLE media ADD COLUMN time_source TEXT;    -- which EXIF tag gave captured_at, or the file's time
ALTER TABLE media ADD COLUMN image_digest TEXT;   -- of the image without metadata; '' where a file has none
ALTER TABLE media ADD COLUMN image_doubt TEXT CHECK (image_doubt IN ('thumbnail_differs'));
ALTER TABLE media ADD COLUMN pictures INTEGER;    -- images in one file, where there are several
CREATE INDEX media_image_digest ON media (image_digest) WHERE image_digest IS NOT NULL;

CREATE TABLE observation_2 (
    id INTEGER PRIMARY KEY,
    media INTEGER NOT NULL REFERENCES media (id),
    run INTEGER REFERENCES run (id),
    model INTEGER REFERENCES model (id),
    configuration INTEGER REFERENCES configuration (id), -- NULL only for imports and people
    revision INTEGER NOT NULL DEFAULT 0,                 -- the highest of a model and configuration counts
    revises INTEGER REFERENCES observation (id),         -- subject 0 of the revision before
    subject INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL CHECK (kind IN ('animal', 'human', 'vehicle', 'blank', 'unknown')),
    taxon TEXT, rank TEXT, common_name TEXT,
    count INTEGER, count_confirmed INTEGER,
    confidence REAL, rejection_score REAL,
    reason TEXT CHECK (reason IN ('confident', 'rolled_up', 'below_threshold', 'out_of_distribution', 'blank',
                                  'not_here', 'static')),
    box_x REAL, box_y REAL, box_width REAL, box_height REAL,
    box_source TEXT CHECK (box_source IN ('attention', 'motion', 'detector', 'imported', 'human')),
    life_stage TEXT, sex TEXT, behaviour TEXT, individual_id TEXT, note TEXT,
    method TEXT NOT NULL CHECK (method IN ('machine', 'human')),
    classified_by TEXT NOT NULL,
    classified_at TEXT NOT NULL,
    act TEXT, line INTEGER,                              -- what one person wrote on a frame in one go, line by line
    withdraws INTEGER REFERENCES observation (id),       -- an undo: the act of that row no longer counts
    log_probabilities BLOB                               -- float16[L], calibrated, before the species list
);
INSERT INTO configuration (id, digest, document)
    VALUES (1, '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a', '{{}}'); -- all defaults
INSERT INTO observation_2 (id, media, run, model, configuration, subject, kind, taxon, rank, common_name, count,
    confidence, reason, box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at,
    log_probabilities, act, line)
SELECT id, media, run, model, iif(method = 'machine' AND run IS NOT NULL, 1, NULL), subject, kind, taxon, rank,
    common_name, count, confidence, reason, box_x, box_y, box_width, box_height, box_source, method, classified_by,
    classified_at, log_probabilities,
    iif(method = 'human', 'before-2: ' || classified_by, NULL),
    iif(method = 'human', row_number() OVER (PARTITION BY media, method, classified_by ORDER BY id) - 1, NULL)
FROM observation;
DROP TABLE observation;
ALTER TABLE observation_2 RENAME TO observation;
CREATE UNIQUE INDEX observation_machine
    ON observation (media, coalesce(model, 0), coalesce(configuration, 0), revision, subject) WHERE method = 'machine';
CREATE UNIQUE INDEX observation_act ON observation (media, act, line) WHERE act IS NOT NULL;
CREATE INDEX observation_human ON observation (media, id) WHERE method = 'human';
CREATE INDEX observation_withdraws ON observation (withdraws) WHERE withdraws IS NOT NULL;
CREATE INDEX observation_media ON observation (media);
CREATE INDEX observation_taxon ON observation (taxon);

UPDATE run SET configuration = 1;
INSERT INTO pin (model, configuration, at, "by")
    SELECT model, 1, started_at, 'edge-classify' FROM run ORDER BY id DESC LIMIT 1;

CREATE TABLE identity (          -- which database this is: its lock file repeats it, so that a damaged one is known
    id TEXT NOT NULL
);
INSERT INTO identity VALUES (lower(hex(randomblob(16))));

CREATE TABLE stale (             -- answers that are to be worked out again
    media INTEGER NOT NULL REFERENCES media (id) ON DELETE CASCADE,
    model INTEGER NOT NULL REFERENCES model (id), configuration INTEGER NOT NULL REFERENCES configuration (id),
    cause TEXT NOT NULL,
    PRIMARY KEY (media, model, configuration)
) WITHOUT ROWID;
CREATE TABLE correction (        -- every value that was set right afterwards
    id INTEGER PRIMARY KEY,
    media INTEGER REFERENCES media (id) ON DELETE CASCADE, deployment TEXT,
    field TEXT NOT NULL, old TEXT, new TEXT,
    at TEXT NOT NULL, "by" TEXT NOT NULL, note TEXT,
    undoes INTEGER REFERENCES correction (id),
    retime INTEGER               -- the row of `retime` that moved the frame
);
CREATE INDEX correction_media ON correction (media, field);
CREATE INDEX correction_digest ON correction (old) WHERE field = 'digest';
CREATE INDEX correction_retime ON correction (retime) WHERE retime IS NOT NULL;
CREATE INDEX media_zone ON media (deployment, time_zone);
CREATE INDEX media_future ON media (captured_at) WHERE instr(clock_doubt, 'future') > 0;
CREATE TABLE embedding (         -- features of a decision's crops, where they are stored
    id INTEGER PRIMARY KEY,
    observation INTEGER NOT NULL REFERENCES observation (id) ON DELETE CASCADE,
    look INTEGER NOT NULL, box TEXT, backbone TEXT NOT NULL, scale REAL NOT NULL,
    vector BLOB NOT NULL, logits BLOB,
    UNIQUE (observation, look)
);
CREATE TABLE retime_2 (
    id INTEGER PRIMARY KEY, deployment TEXT, shift_s REAL NOT NULL, at TEXT NOT NULL, "by" TEXT NOT NULL, note TEXT,
    undoes INTEGER REFERENCES retime_2 (id)
);
INSERT INTO retime_2 (deployment, shift_s, at, "by", note) SELECT deployment, shift_s, at, "by", note FROM retime;
DROP TABLE retime;
ALTER TABLE retime_2 RENAME TO retime;
{VIEWS}
"""

MIGRATIONS = (VERSION_1, VERSION_2)
