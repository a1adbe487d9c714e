"""Rows of a frame, never split over two transactions. The database is the only state that the daemon has."""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.clock import CaptureTime, iso_utc, now
from edge.decide import Decision
from edge.files import Seen
from edge.frame import Pixels, Reason
from edge.look import Box
from edge.model import Model
from edge.schema import open_database
from edge.settings import Deployment, Settings

KNOWN = """
SELECT f.bytes, f.mtime_ns, m.status, m.id FROM file f JOIN media m ON m.id = f.media WHERE f.path = ?
"""
CLASSIFIED = "SELECT id FROM media WHERE digest = ? AND status = 'classified'"
ANSWERED = "SELECT 1 FROM observation WHERE media = ? AND model = ? AND method = 'machine' AND subject = 0"
UNSCORED_AT = "SELECT id, attempts FROM media WHERE path = ? AND status <> 'classified'"
SAW_FILE = """
INSERT INTO file (path, bytes, mtime_ns, media, seen_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes, mtime_ns = excluded.mtime_ns, media = excluded.media,
    seen_at = excluded.seen_at
"""
NEW_MEDIA = "INSERT INTO media (path, bytes, received_at, status) VALUES (?, ?, ?, 'pending')"
FAILED = """
UPDATE media SET digest = ?, bytes = ?, status = ?, reason = ?, attempts = attempts + 1, deployment = ? WHERE id = ?
"""
SCORED = """
UPDATE media SET path = ?, digest = ?, bytes = ?, width_px = ?, height_px = ?, captured_at = ?, captured_at_raw = ?,
    time_zone = ?, clock_doubt = ?, status = 'classified', reason = NULL, attempts = attempts + 1, deployment = ?,
    infrared = ?, scene = ?
WHERE id = ?
"""
MOVED = "UPDATE media SET path = ? WHERE id = ?"
FORGET_PLACEHOLDER = "DELETE FROM media WHERE id = ? AND status <> 'classified'"
NEW_OBSERVATION = """
INSERT INTO observation (media, run, model, subject, kind, taxon, rank, common_name, count, confidence, reason,
    box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at, log_probabilities)
VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'machine', ?, ?, ?)
"""
NEW_CANDIDATE = "INSERT INTO candidate (observation, place, taxon, rank, probability) VALUES (?, ?, ?, ?, ?)"
NEW_MODEL = "INSERT INTO model (sha256, name, version, card) VALUES (?, ?, ?, ?) ON CONFLICT (sha256) DO NOTHING"
NEW_RUN = "INSERT INTO run (started_at, software_version, model, settings) VALUES (?, ?, ?, ?)"
SAVE_DEPLOYMENT = """
INSERT INTO deployment (id, latitude, longitude, time_zone, start, "end", folder) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET latitude = coalesce(excluded.latitude, latitude),
    longitude = coalesce(excluded.longitude, longitude), time_zone = coalesce(excluded.time_zone, time_zone),
    start = coalesce(excluded.start, start), "end" = coalesce(excluded."end", "end"),
    folder = coalesce(excluded.folder, folder)
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """A whole frame with its answer, ready to be logged."""

    seen: Seen
    digest: str
    width_px: int
    height_px: int
    captured: CaptureTime
    deployment: str | None
    decision: Decision
    log_probabilities: NDArray[np.float32]
    region: Box | None
    infrared: bool
    scene: Pixels
    """uint8[12, 16], see `edge.scene`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that cannot be scored, now or ever."""

    seen: Seen
    digest: str | None
    reason: Reason
    detail: str
    final: bool
    """False while it may still be growing."""
    deployment: str | None = None

    @property
    def status(self) -> str:
        if self.reason == "unsupported_format":
            return "unsupported"
        return "unreadable" if self.final else "pending"


@dataclass(frozen=True, slots=True)
class Again:
    """Content that is logged already, seen at another path or at another time."""

    seen: Seen
    digest: str


Result = Scored | Failed | Again


class Store:
    """Writes frames to the database at `path`; one process at a time holds it."""

    def __init__(self, path: Path, model: Model, settings: Settings) -> None:
        self._connection = open_database(path)
        self._model_name = f"{model.card.name} {model.card.version}"
        with self._transaction():
            self._write(NEW_MODEL, model.sha256, model.card.name, model.card.version, model.card.to_json())
            self._model = self._one("SELECT id FROM model WHERE sha256 = ?", model.sha256)
            self._run = self._write(NEW_RUN, iso_utc(now()), __version__, self._model, _settings_json(settings))
            for deployment in settings.deployments:
                self._save(deployment)
        self._reclassify = settings.reclassify

    def close(self) -> None:
        self._connection.close()

    def is_known(self, seen: Seen) -> bool:
        """Whether this path with this size and time needs no second visit."""
        row = self._connection.execute(KNOWN, (_path_value(seen.path),)).fetchone()
        if row is None or (row[0], row[1]) != (seen.bytes, seen.mtime_ns) or row[2] == "pending":
            return False
        return not (self._reclassify and row[2] == "classified" and not self._answered(row[3]))

    def is_logged(self, digest: str) -> bool:
        """Whether this content needs no second look."""
        row = self._connection.execute(CLASSIFIED, (digest,)).fetchone()
        return row is not None and not (self._reclassify and not self._answered(row[0]))

    def record(self, results: Sequence[Result]) -> None:
        """Log a group of frames in one transaction, on the disk when this returns."""
        with self._transaction():
            for result in results:
                self._record(result)

    def _record(self, result: Result) -> None:
        path = _path_value(result.seen.path)
        placeholder = self._connection.execute(UNSCORED_AT, (path,)).fetchone()
        if isinstance(result, Failed):
            media = placeholder[0] if placeholder else self._new_media(result.seen)
            self._write(
                FAILED, result.digest, result.seen.bytes, result.status, result.reason, result.deployment, media
            )
            self._saw(result.seen, media)
            return
        logged = self._connection.execute(CLASSIFIED, (result.digest,)).fetchone()
        if logged is None and isinstance(result, Again):
            raise RuntimeError(f"content {result.digest} was said to be logged and is not")
        if logged is not None:
            media = logged[0]
            self._write(MOVED, path, media)
        else:
            media = placeholder[0] if placeholder else self._new_media(result.seen)
        self._saw(result.seen, media)
        if placeholder and media != placeholder[0]:
            self._write(FORGET_PLACEHOLDER, placeholder[0])
        if isinstance(result, Scored):
            if logged is None:
                self._write(SCORED, path, result.digest, result.seen.bytes, result.width_px, result.height_px,
                            iso_utc(result.captured.at), result.captured.raw or None, result.captured.zone,
                            ",".join(result.captured.doubts) or None, result.deployment, int(result.infrared),
                            result.scene.tobytes(), media)  # fmt: skip
            if not self._answered(media):
                self._observe(media, result)

    def _observe(self, media: int, scored: Scored) -> None:
        decision = scored.decision
        box: tuple[Any, ...] = (None,) * 5
        if scored.region is not None and decision.kind not in ("blank", "unknown"):
            region = scored.region
            box = (region.x, region.y, region.width, region.height, "attention")
        count = 1 if decision.kind == "animal" else None
        observation = self._write(NEW_OBSERVATION, media, self._run, self._model, decision.kind, decision.taxon,
                                  decision.rank, decision.common_name, count, decision.confidence, decision.reason,
                                  *box, self._model_name, iso_utc(now()),
                                  scored.log_probabilities.astype(np.float16).tobytes())  # fmt: skip
        for place, candidate in enumerate(decision.candidates, 1):
            self._write(NEW_CANDIDATE, observation, place, candidate.name, candidate.rank, candidate.probability)

    def _saw(self, seen: Seen, media: int) -> None:
        self._write(SAW_FILE, _path_value(seen.path), seen.bytes, seen.mtime_ns, media, iso_utc(now()))

    def _new_media(self, seen: Seen) -> int:
        return self._write(NEW_MEDIA, _path_value(seen.path), seen.bytes, iso_utc(now()))

    def _answered(self, media: int) -> bool:
        return self._connection.execute(ANSWERED, (media, self._model)).fetchone() is not None

    def _save(self, deployment: Deployment) -> None:
        self._write(SAVE_DEPLOYMENT, deployment.id, deployment.latitude, deployment.longitude, deployment.time_zone,
                    deployment.start, deployment.end,
                    None if deployment.folder is None else str(deployment.folder))  # fmt: skip

    def _write(self, sql: str, *values: Any) -> int:
        return int(self._connection.execute(sql, values).lastrowid or 0)

    def _one(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values).fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()


def _path_value(path: str) -> str | bytes:
    """TEXT when the name is UTF-8, else the raw bytes."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _settings_json(settings: Settings) -> str:
    return json.dumps(asdict(settings), default=str, sort_keys=True)
