"""Rows of a frame, never split over two transactions. The database is the only state that the daemon has."""

import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge import __version__
from edge.capture.files import FileState
from edge.database.clock_rollback import ClockRollback
from edge.database.event_table import make_grouper, update_events
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, Result
from edge.database.recovery import open_or_repair
from edge.host.status import HostStatus
from edge.image.box import Box
from edge.inference.decision import Decision
from edge.service.model_reload import Models
from edge.settings import Deployment, Settings
from edge.timestamps import iso_utc, now

log = logging.getLogger(__name__)

KNOWN = """
SELECT f.path, f.bytes, f.mtime_ns, m.status, m.id, f.ctime_ns, m.digest, m.reason
FROM file f JOIN media m ON m.id = f.media WHERE f.path IN ({})
"""
DETECTION = "SELECT d.* FROM file f JOIN detections d ON d.media = f.media WHERE f.path = ?"
CLASSIFIED = "SELECT id FROM media WHERE digest = ? AND status = 'classified'"
ANSWERED = "SELECT 1 FROM observation WHERE media = ? AND model = ? AND method = 'machine' AND subject = 0"
UNSCORED_AT = "SELECT id FROM media WHERE path = ? AND status <> 'classified'"
UNSCORED_WITH = "SELECT id, path FROM media WHERE digest = ? AND status <> 'classified'"
CRASHED = "SELECT 1 FROM media WHERE digest = ? AND status <> 'classified' AND reason = 'crashed_decoder'"
SAW_FILE = """
INSERT INTO file (path, bytes, mtime_ns, ctime_ns, media, seen_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
    media = excluded.media, seen_at = excluded.seen_at
"""
NEW_MEDIA = "INSERT INTO media (path, bytes, received_at, status) VALUES (?, ?, ?, 'pending')"
FAILED = """
UPDATE media SET path = ?, digest = ?, bytes = ?, status = ?, reason = ?, attempts = attempts + ?, deployment = ?
WHERE id = ?
"""
SCORED = """
UPDATE media SET path = ?, digest = ?, bytes = ?, width_px = ?, height_px = ?, captured_at = ?, captured_at_raw = ?,
    time_zone = ?, clock_doubt = ?, status = 'classified', reason = NULL, attempts = attempts + 1, deployment = ?,
    infrared = ?, scene = ?
WHERE id = ?
"""
GREW = "UPDATE media SET digest = ?, bytes = ? WHERE digest = ? AND status = 'classified'"
LOGGED_AT = """
SELECT m.bytes, m.digest FROM file f JOIN media m ON m.id = f.media WHERE f.path = ? AND m.status = 'classified'
"""
MOVED = "UPDATE media SET path = ? WHERE id = ?"
FORGET_PLACEHOLDER = "DELETE FROM media WHERE id = ? AND status <> 'classified'"
NEW_OBSERVATION = """
INSERT INTO observation (media, run, model, subject, kind, taxon, rank, common_name, count, confidence, reason,
    box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at, log_probabilities)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'machine', ?, ?, ?)
"""
NEW_CANDIDATE = "INSERT INTO candidate (observation, place, taxon, rank, probability) VALUES (?, ?, ?, ?, ?)"
NEW_MODEL = """
INSERT INTO model (sha256, name, version, card) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET card = excluded.card WHERE card = '{}' -- what salvage could not read
"""
NEW_RUN = "INSERT INTO run (started_at, software_version, model, settings) VALUES (?, ?, ?, ?)"
END_RUN = "UPDATE run SET ended_at = ? WHERE id = ?"
LAST_RUN = "SELECT ended_at FROM run ORDER BY id DESC LIMIT 1"
BEAT = """
INSERT INTO heartbeat (at, backlog, free_bytes, temperature_c, clock_synchronised) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (at) DO NOTHING
"""
NEWEST_FRAMES = "SELECT path FROM media WHERE status = 'classified' ORDER BY id DESC LIMIT ?"
NEWEST_OF_NO_EVENT = """
SELECT id FROM media WHERE status = 'classified' AND id > (SELECT coalesce(max(media), 0) FROM event_media)
ORDER BY id DESC LIMIT 5000
"""
PENDING = "SELECT id, path FROM media WHERE status = 'pending'"
SAVE_DEPLOYMENT = """
INSERT INTO deployment (id, latitude, longitude, time_zone, start, "end", folder) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET latitude = coalesce(excluded.latitude, latitude),
    longitude = coalesce(excluded.longitude, longitude), time_zone = coalesce(excluded.time_zone, time_zone),
    start = coalesce(excluded.start, start), "end" = coalesce(excluded."end", "end"),
    folder = coalesce(excluded.folder, folder)
"""
OWN_ENDS = re.compile(r"|-wal|-shm|-journal|\.lock|\.(damaged-|salvag).*", re.DOTALL)
LONGEST_STRETCH = 20_000  # frames without a silence between visits: more would need the memory of a small box
BACKLOG_S = 1.0  # how often events are brought up to date while more frames are on their way
SLOW_S, UNHURRIED = 0.2, 20
"""What takes longer than `SLOW_S` is done again after `UNHURRIED` times its duration at the earliest."""


class DatabaseWaits(RuntimeError):
    """The database cannot be written now (full, read-only, locked): one line that says why."""


class Store:
    """Writes frames to the database at `path`; one process at a time holds it.

    Raises `SchemaError` for a file that is none of ours. A damaged one is set aside and what can be read of it is
    brought into a new one.
    """

    def __init__(self, path: Path, models: Models, settings: Settings) -> None:
        self._path = path.resolve()  # a link leads to the files that lie beside the database
        self._settings = settings
        self._used_models = models
        self._run: int | None = None
        self._observed: list[int] = []
        self._unplaced: list[int] = []
        """Logged frames whose events are not up to date yet."""
        self._placed_at = self._next_placing = 0.0
        self.times_opened = 0
        """More than 1 when the file was replaced under the running process: what is logged has to be asked anew."""
        self._open()

    def _open(self) -> None:
        self._connection = open_or_repair(self._path)
        self._file = _identity(self._path)
        self._clock_order = ClockRollback(self._connection)
        last = self._connection.execute(LAST_RUN).fetchone()
        self.ended_badly = last is not None and last[0] is None
        """Whether the run before this one crashed or lost its power."""
        unplaced = self._connection.execute(NEWEST_OF_NO_EVENT).fetchall() if self.ended_badly else []
        self._unplaced = [media for (media,) in unplaced]
        self._begin_run(self._used_models)
        self.times_opened += 1

    def begin_run(self, models: Models) -> None:
        """Answers come from `models` from now on. Raises `DatabaseWaits`."""
        try:
            self._begin_run(models)
        except sqlite3.Error as error:
            raise DatabaseWaits(f"{self._path}: {error}") from error

    def _begin_run(self, models: Models) -> None:
        with self._transaction():
            self._write(NEW_MODEL, models.sha256, models.name, models.card.version, models.card.to_json())
            model_id = self._one("SELECT id FROM model WHERE sha256 = ?", models.sha256)
            run = self._write(NEW_RUN, iso_utc(now()), __version__, model_id, _settings_json(self._settings, models))
            if self._run is not None:
                self._write(END_RUN, iso_utc(now()), self._run)
            for deployment in self._settings.deployments:
                self._save(deployment)
        self._used_models, self._model, self._run = models, model_id, run
        self._grouper = make_grouper(self._connection, {model_id: models.decider})
        self._model_name = f"{models.name} {models.card.version}"

    def end(self) -> None:
        """Say that the run ended as it should; without that, the next one looks twice at what was in hand."""
        try:
            with self._transaction():
                self._next_placing = 0.0
                self._place(self._unplaced)
                self._write(END_RUN, iso_utc(now()), self._run)
        except sqlite3.Error as error:
            log.warning("database: %s: %s", self._path, error)

    def close(self) -> None:
        self._connection.close()

    def unknown(self, files: Sequence[FileState]) -> list[FileState]:
        """Those of some files that need a visit; a few hundred at once cost little more than one."""
        files = [seen for seen in files if not self._is_own(seen.path)]
        paths = [_path_value(seen.path) for seen in files]
        try:
            rows = self._connection.execute(KNOWN.format(",".join("?" * len(paths))), paths).fetchall()
        except sqlite3.DatabaseError as error:
            log.debug("database: %s: %s", self._path, error)
            return list(files)  # what is not known is only read once more
        known = {row[0]: row[1:] for row in rows}
        return [seen for seen, path in zip(files, paths, strict=True) if not self._is_as_logged(seen, known.get(path))]

    def _is_own(self, path: str) -> bool:
        """Whether it is one of the database's files, in the folder that is watched.

        Nobody else in this process may open and close them: that would give up the locks that SQLite holds on them.
        """
        folder, name = os.path.split(path)
        if not name.startswith(self._path.name) or not OWN_ENDS.fullmatch(name[len(self._path.name) :]):
            return False
        return os.path.realpath(folder) == str(self._path.parent)

    def _is_as_logged(self, seen: FileState, row: tuple[Any, ...] | None) -> bool:
        if row is None:
            return False
        size, mtime_ns, status, media, ctime_ns, digest, reason = row
        if (size, mtime_ns) != (seen.bytes, seen.mtime_ns) or status == "pending":
            return False
        if status == "classified":
            return not self._settings.reclassify or self._answered(media)
        if status == "unreadable" and self._settings.watch is None:
            return False  # whoever asks about this file gets an answer about this file
        if status == "unreadable" and digest is None and reason != "permission":
            return False  # a card that failed to give its bytes may give them next time
        return ctime_ns in (None, seen.ctime_ns)

    def is_logged(self, digest: str) -> bool:
        """Whether this content needs no second look."""
        row = self._ask(CLASSIFIED, digest)
        return row is not None and (not self._settings.reclassify or self._answered(row[0]))

    def detection(self, seen: FileState) -> dict[str, Any]:
        """A logged file's row of the view `detections`, by column."""
        cursor = self._connection.execute(DETECTION, (_path_value(seen.path),))
        return dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))

    def logged_at(self, path: str) -> tuple[int, str] | None:
        """Size and digest of the frame that was logged at this path last."""
        row = self._ask(LOGGED_AT, _path_value(path))
        return None if row is None else (row[0], row[1])

    def has_crashed(self, digest: str) -> bool:
        """Whether this content has ended the process or the decoder before."""
        return self._ask(CRASHED, digest) is not None

    def newest_frames(self, count: int) -> list[str]:
        """Paths of the frames that were classified last."""
        rows = self._connection.execute(NEWEST_FRAMES, (count,)).fetchall()
        return [os.fsdecode(path) for (path,) in rows]

    def record(self, results: Sequence[Result], more_follow: bool = False) -> None:
        """Log a group of frames in one transaction, on the disk when this returns. Raises `DatabaseWaits`.

        With `more_follow` their events may wait for those that come after: frames of one visit are grouped together.
        """
        with self._writing():
            self._observed.clear()
            for result in results:
                self._record(result)
            placed = self._place([*self._unplaced, *self._observed], BACKLOG_S if more_follow else 0.0)
        self._unplaced = [] if placed else [*self._unplaced, *self._observed]

    def _place(self, media: list[int], every_s: float = 0.0) -> bool:
        """Bring the events of frames up to date, or give False: not now.

        A visit of weeks (a herd that stays, a time-lapse) is looked through as a whole for each new frame of it. That
        may not take the time of the frames themselves, so it is done now and then.
        """
        began = time.monotonic()
        if began < max(self._next_placing, self._placed_at + every_s):
            return False
        # Events can be made anew from the frames at any time (reports do it where they are missing): a fault in the
        # grouping is said, and no frame is lost for it.
        try:
            update_events(self._connection, media, grouper=self._grouper, most_frames=LONGEST_STRETCH)
        except sqlite3.Error:
            raise
        except Exception:
            log.exception("events of media %s could not be updated", media)
        self._placed_at = time.monotonic()
        took_s = self._placed_at - began
        if took_s > SLOW_S:
            self._next_placing = self._placed_at + UNHURRIED * took_s
        return True

    def beat(self, pulse: HostStatus) -> None:
        """Log that the box is alive. Raises `DatabaseWaits`."""
        with self._writing():
            self._write(BEAT, iso_utc(pulse.at), pulse.backlog, pulse.free_bytes, pulse.temperature_c,
                        None if pulse.clock_synchronised is None else int(pulse.clock_synchronised))  # fmt: skip
            for media, path in self._connection.execute(PENDING).fetchall():
                # Half a frame that was taken away, renamed or finished under another name; a missing folder is
                # something else: a card that is out for a moment.
                if not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)):
                    self._write(FORGET_PLACEHOLDER, media)
            placed = self._place(self._unplaced)
        if placed:
            self._unplaced = []

    def free_bytes(self) -> int:
        """Of the file system that holds the database."""
        return disk_usage(self._path.parent).free

    def _record(self, result: Result) -> None:
        path = _path_value(result.seen.path)
        placeholder = self._ask(UNSCORED_AT, path)
        if isinstance(result, FailedFile):
            media = placeholder[0] if placeholder else self._unscored(result)
            self._write(FAILED, path, result.digest, result.seen.bytes, result.status, result.reason, result.tries,
                        result.deployment, media)  # fmt: skip
            self._saw(result.seen, media)
            return
        logged = self._connection.execute(CLASSIFIED, (result.digest,)).fetchone()
        if logged is None and isinstance(result, Duplicate) and result.grown_from is not None:
            self._write(GREW, result.digest, result.seen.bytes, result.grown_from)
            logged = self._connection.execute(CLASSIFIED, (result.digest,)).fetchone()
        if logged is None and isinstance(result, Duplicate):
            # Only when the database was replaced meanwhile; the folder is looked through again then.
            log.warning("%s was logged in a database that is gone; it is looked at again", ascii(result.seen.path))
            return
        if logged is not None:
            media = logged[0]
            self._write(MOVED, path, media)
        else:
            media = placeholder[0] if placeholder else self._new_media(result.seen)
        self._saw(result.seen, media)
        if placeholder and media != placeholder[0]:
            self._write(FORGET_PLACEHOLDER, placeholder[0])
        if isinstance(result, ClassifiedFrame):
            if logged is None:
                at = iso_utc(result.captured.at)
                doubts = result.captured.doubts
                if self._clock_order.runs_backwards(path, at, result.captured):
                    doubts = (*doubts, "backwards")
                self._write(SCORED, path, result.digest, result.seen.bytes, result.width_px, result.height_px,
                            at, result.captured.raw or None, result.captured.zone, ",".join(doubts) or None,
                            result.deployment, int(result.infrared), result.scene.tobytes(), media)  # fmt: skip
            if not self._answered(media):
                self._observe(media, result)
                self._observed.append(media)

    def _unscored(self, failed: FailedFile) -> int:
        """A row for a file that cannot be scored: the one of the same bytes when these were renamed, else a new one."""
        if failed.digest is not None:
            for media, path in self._connection.execute(UNSCORED_WITH, (failed.digest,)):
                if not os.path.lexists(path):
                    return int(media)
        return self._new_media(failed.seen)

    def _observe(self, media: int, scored: ClassifiedFrame) -> None:
        shown = scored.region if scored.decision.kind not in ("blank", "unknown") else None
        self._answer(media, 0, scored.decision, scored.count, shown, "attention", scored.log_probabilities)
        for subject, seen in enumerate(scored.subjects, 1):
            self._answer(media, subject, seen.decision, 1, seen.box, "detector", seen.log_probabilities)

    def _answer(self, media: int, subject: int, decision: Decision, count: int | None, box: Box | None,
                box_source: str, log_probabilities: NDArray[np.float32] | None) -> None:  # fmt: skip
        drawn = (None,) * 5 if box is None else (box.x, box.y, box.width, box.height, box_source)
        logs = None if log_probabilities is None else log_probabilities.astype(np.float16).tobytes()
        observation = self._write(NEW_OBSERVATION, media, self._run, self._model, subject, decision.kind,
                                  decision.taxon, decision.rank, decision.common_name, count, decision.confidence,
                                  decision.reason, *drawn, self._model_name, iso_utc(now()), logs)  # fmt: skip
        for place, candidate in enumerate(decision.candidates, 1):
            self._write(NEW_CANDIDATE, observation, place, candidate.name, candidate.rank, candidate.probability)

    def _saw(self, seen: FileState, media: int) -> None:
        self._write(SAW_FILE, _path_value(seen.path), seen.bytes, seen.mtime_ns, seen.ctime_ns, media,
                    iso_utc(now()))  # fmt: skip

    def _new_media(self, seen: FileState) -> int:
        return self._write(NEW_MEDIA, _path_value(seen.path), seen.bytes, iso_utc(now()))

    def _answered(self, media: int) -> bool:
        return self._ask(ANSWERED, media, self._model) is not None

    def _save(self, deployment: Deployment) -> None:
        self._write(SAVE_DEPLOYMENT, deployment.id, deployment.latitude, deployment.longitude, deployment.time_zone,
                    deployment.start, deployment.end,
                    None if deployment.folder is None else str(deployment.folder))  # fmt: skip

    def _write(self, sql: str, *values: Any) -> int:
        return int(self._connection.execute(sql, values).lastrowid or 0)

    def _one(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values).fetchone()[0]

    def _ask(self, sql: str, *values: Any) -> Any:
        """One row or `None`; also `None` when the disk fails, because what is not known is only read once more."""
        try:
            return self._connection.execute(sql, values).fetchone()
        except sqlite3.DatabaseError as error:
            log.debug("database: %s: %s", self._path, error)
            return None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction on the file that is at the path now, in a healthy database, on a disk with room."""
        least = self._settings.min_free_bytes
        try:
            if _identity(self._path) != self._file:
                log.error("database: %s was removed or replaced while in use; going on with what is there", self._path)
                self._reopen()
            if (free := self.free_bytes()) < least:
                raise DatabaseWaits(f"{self._path}: {free:,} bytes are free on its disk, min_free_bytes is {least:,}")
            try:
                with self._transaction():
                    yield
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:
                    raise
                log.error("database: %s: %s", self._path, error)  # damaged: SQLite has no class of its own for it
                self._reopen()
                raise DatabaseWaits(f"{self._path} was damaged and has been replaced") from error
        except (sqlite3.OperationalError, OSError) as error:
            raise DatabaseWaits(f"{self._path}: {error}") from error

    def _reopen(self) -> None:
        self._connection.close()
        self._file = (0, 0)  # no file's, so that a failure here leads here again
        self._run = None  # it is not in the file that is there now
        self._open()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.commit()
        except BaseException:
            # After some errors (a full disk) SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.rollback()
            raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _path_value(path: str) -> str | bytes:
    """TEXT when the name is UTF-8, else the raw bytes."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _settings_json(settings: Settings, models: Models) -> str:
    document = msgspec.to_builtins(settings, enc_hook=str)
    if models.detector is not None:
        document["detector_sha256"] = models.detector.model.sha256
    return json.dumps(document, sort_keys=True)
