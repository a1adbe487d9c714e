"""The one writer of the detections database: rows of a frame, never split over two transactions.

The database is the only state that the daemon has.
"""

import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.capture.files import FileState
from edge.database.configuration import configuration_of, save_configuration
from edge.database.corrections.audit import Change, write_changes
from edge.database.corrections.capture_times import follow_zones, judge_future
from edge.database.corrections.clock_order import ClockOrder
from edge.database.corrections.image_digests import SET as SET_IMAGE_DIGEST
from edge.database.corrections.image_digests import ImageDigests
from edge.database.corrections.rewritten_files import BY, note_rewritten, row_of_same_image
from edge.database.corrections.rewritten_files import FIELD as DIGEST
from edge.database.corrections.sites import Followed, Sites, without_known_folders
from edge.database.decisions.decide_again import DecideAgain
from edge.database.decisions.model_choice import describe_difference
from edge.database.disk_guard import DatabaseOpenedAnew, DatabaseWaits, DiskGuard
from edge.database.events.schedule import BACKLOG_S, EventSchedule
from edge.database.events.table import make_grouper, update_events
from edge.database.frame_files import real_roots
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, FrameResult, RewrittenFrame
from edge.database.held_file import HeldFile
from edge.database.known_files import CLASSIFIED, Asked, KnownFiles, path_value
from edge.database.repair.missing_parts import make_again, missing_table
from edge.database.repair.recovery import open_or_repair
from edge.database.schema import SchemaError, open_database
from edge.database.transaction import writing
from edge.host.status import HostStatus
from edge.image.box import Box
from edge.inference.decision import Decision
from edge.inference.predictor import Models
from edge.settings.options import Settings
from edge.timestamps import iso_utc, now
from edge.version import __version__
from edge.vocabulary import BoxSource, Kind

log = logging.getLogger(__name__)

DETECTION = "SELECT d.* FROM file f JOIN detections d ON d.media = f.media WHERE f.path = ?"
UNCLASSIFIED_AT = "SELECT id FROM media WHERE path = ? AND status <> 'classified'"
UNCLASSIFIED_WITH = "SELECT id, path FROM media WHERE digest = ? AND status <> 'classified'"
SAW_FILE = """
INSERT INTO file (path, bytes, mtime_ns, ctime_ns, media, seen_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
    media = excluded.media, seen_at = iif(media = excluded.media, seen_at, excluded.seen_at)
"""
# Rows that were deleted by hand may have left others behind, which must not become those of a new frame.
NEW_MEDIA = """
INSERT INTO media (id, path, bytes, received_at, status) VALUES (1 + max(
    coalesce((SELECT max(id) FROM media), 0), coalesce((SELECT max(media) FROM observation), 0),
    coalesce((SELECT max(media) FROM file), 0), coalesce((SELECT max(media) FROM event_media), 0),
    coalesce((SELECT max(media) FROM correction), 0), coalesce((SELECT max(media) FROM stale), 0)
), ?, ?, ?, 'pending')
"""
FAILED_FILE = """
UPDATE media SET path = ?, digest = ?, bytes = ?, status = ?, reason = ?, attempts = attempts + ?,
    deployment = coalesce(?, deployment)
WHERE id = ?
"""
CLASSIFIED_FRAME = """
UPDATE media SET path = ?, digest = ?, bytes = ?, width_px = ?, height_px = ?, captured_at = ?, captured_at_raw = ?,
    time_zone = ?, clock_doubt = ?, time_source = ?, deployment = coalesce(?, deployment), status = 'classified',
    reason = NULL, attempts = attempts + 1, infrared = ?, scene = ?, image_digest = ?, image_doubt = ?, pictures = ?
WHERE id = ?
"""
GREW = "UPDATE media SET digest = ?, bytes = ? WHERE id = ?"
MOVED = "UPDATE media SET path = ? WHERE id = ?"
FORGET_PLACEHOLDER = "DELETE FROM media WHERE id = ? AND status <> 'classified'"
NEW_OBSERVATION = """
INSERT INTO observation (id, media, run, model, configuration, subject, kind, taxon, rank, common_name, count,
    confidence, reason, box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at,
    log_probabilities)
VALUES (1 + max(
    coalesce((SELECT max(id) FROM observation), 0), coalesce((SELECT max(observation) FROM candidate), 0),
    coalesce((SELECT max(observation) FROM embedding), 0)
), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'machine', ?, ?, ?)
"""
NEW_CANDIDATE = "INSERT INTO candidate (observation, place, taxon, rank, probability) VALUES (?, ?, ?, ?, ?)"
NEW_MODEL = """
INSERT INTO model (sha256, name, version, card) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET card = excluded.card WHERE card = '{}' -- what salvage could not read
"""
NEW_RUN = "INSERT INTO run (started_at, software_version, model, configuration, settings) VALUES (?, ?, ?, ?, ?)"
FIRST_PIN = """
INSERT INTO pin (model, configuration, at, "by")
SELECT ?, ?, ?, 'edge-classify' WHERE NOT EXISTS (SELECT 1 FROM pin)
"""
END_RUN = "UPDATE run SET ended_at = ? WHERE id = ?"
LAST_RUN = "SELECT ended_at, software_version FROM run ORDER BY id DESC LIMIT 1"
TRY_AGAIN = "UPDATE media SET status = 'pending' WHERE status = 'unreadable' AND reason = 'internal_error'"
HEARTBEAT = """
INSERT INTO heartbeat (at, backlog, free_bytes, temperature_c, clock_synchronised, problem) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (at) DO NOTHING
"""
PENDING = "SELECT id, path FROM media WHERE status = 'pending' AND reason IS NOT 'internal_error'"
_MISSING = re.compile("no such (table|view|column)|table .* has no column|.* may not be modified")
"""What SQLite says when somebody changed the tables."""


class Store:
    """Writes frames to the database at `path`; one process at a time holds it.

    Raises `SchemaError` for a file that is not ours. A damaged one is set aside, and what can be read of it is brought
    into a new one.
    """

    def __init__(self, path: Path, models: Models, settings: Settings) -> None:
        self._path = path.resolve()  # a link leads to the files that lie beside the database
        self.settings = settings
        """As given, but for sources that lie in a known deployment's folder."""
        self._roots = real_roots(settings.sources)
        self._models = models
        self._run: int | None = None
        self._disk = DiskGuard(self._path, settings.min_free_bytes)
        self.times_opened = 0
        """More than 1 when the file was replaced under the running process: what is logged has to be asked anew."""
        self._held = HeldFile(self._path)
        self._opened_in_vain = False
        """Whether the database was opened anew for an error, and nothing was written since."""
        self._open()

    def _open(self) -> None:
        self._held.hold()  # before it is opened: each name of a file has a log of its own
        self._connection = open_or_repair(self._path)
        (self._schema_version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        self._reading = Asked(open_database(self._path, read_only=True), self._path)
        self._held.hold()
        self._disk.opened()
        self.settings = without_known_folders(self._connection, self.settings)
        self._clock_order = ClockOrder(self._connection)
        self._image_digests = ImageDigests(self._connection)
        last = self._connection.execute(LAST_RUN).fetchone()
        self._version_before = None if last is None else last[1]
        self.ended_badly = last is not None and last[0] is None
        """Whether the run before this one crashed or lost its power."""
        self._events: EventSchedule | None = None
        self._begin_run(self._models)
        self.times_opened += 1

    def begin_run(self, models: Models) -> None:
        """Decisions come from `models` from now on. Raises `DatabaseWaits`."""
        try:
            self._begin_run(models)
        except sqlite3.Error as error:
            raise DatabaseWaits(f"{self._path}: {error}") from error

    def _begin_run(self, models: Models) -> None:
        with writing(self._connection):
            sha256, card = models.classifier.sha256, models.card
            self._write(NEW_MODEL, sha256, card.name, card.version, card.to_json())
            (model,) = self._connection.execute("SELECT id FROM model WHERE sha256 = ?", (sha256,)).fetchone()
            configuration = save_configuration(self._connection, configuration_of(self.settings, models))
            run = self._write(
                NEW_RUN,
                iso_utc(now()),
                __version__,
                model,
                configuration,
                _settings_json(self.settings, models, self._roots),
            )
            self._pinned = self._connection.execute("SELECT 1 FROM pin").fetchone() is not None
            if self._run is not None:
                self._write(END_RUN, iso_utc(now()), self._run)
            elif self._version_before not in (None, __version__):
                self._write(TRY_AGAIN)
            sites = Sites(self._connection, self.settings)
            followed = sites.begin() if self._run is None else Followed()
        for line in followed.lines():
            log.warning("%s", line)
        self._sites, self._followed = sites, Followed()
        self._models, self._model, self._configuration, self._run = models, model, configuration, run
        self._known, self._known_to_threads = (
            KnownFiles(asked, self._path, self.settings, model, configuration)
            for asked in (Asked(self._connection, self._path), self._reading)
        )
        grouper = make_grouper(self._connection, {(model, configuration): models.decider})
        if self._events is None:
            self._events = EventSchedule(self._connection, grouper, self.ended_badly)
        self._events.grouper = grouper
        with writing(self._connection):
            moved = follow_zones(self._connection, self.settings.deployments, self.settings.time_zone)
            judge_future(self._connection)
            if moved:
                update_events(self._connection, moved, grouper=grouper)

    def end(self) -> None:
        """Note that the run ended as it should; without that, the next one tries what was in hand with care."""
        assert self._events is not None
        try:
            with writing(self._connection):
                waiting = self._events.update(at_once=True)
                self._write(END_RUN, iso_utc(now()), self._run)
            self._events.committed(waiting)
            self._tell_what_followed()
        except sqlite3.Error as error:
            log.warning("database: %s: %s", self._path, error)

    def close(self) -> None:
        self._close()
        self._held.let_go()

    def _close(self) -> None:
        self._reading.close()
        self._connection.close()

    def unknown(self, files: Sequence[FileState]) -> list[FileState]:
        """Those of some files that have to be processed."""
        return self._known.unknown(files)

    def is_own(self, path: str) -> bool:
        """Whether it is one of the database's own files."""
        return self._known.is_own(path)

    def other_path(self, file: FileState) -> str | None:
        """Another path at which the content of a logged file was seen first."""
        return self._known.other_path(file)

    def is_logged(self, digest: str) -> bool:
        """Whether this content needs no classification; like the three questions below, for any thread."""
        return self._known_to_threads.is_logged(digest)

    def has_image(self, image_digest: str, digest: str) -> bool:
        """Whether a frame of other content has the same image."""
        return self._known_to_threads.has_image(image_digest, digest)

    def logged_at(self, path: str) -> tuple[int, str] | None:
        """Size in bytes and digest of the frame that was logged at this path last."""
        return self._known_to_threads.logged_at(path)

    def has_crashed(self, digest: str) -> bool:
        """Whether this content has ended the process or the decoder before."""
        return self._known_to_threads.has_crashed(digest)

    def detection(self, file: FileState) -> dict[str, Any]:
        """A logged file's row of the view `detections`, by column."""
        cursor = self._connection.execute(DETECTION, (path_value(file.path),))
        return dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))

    def record(self, results: Sequence[FrameResult], more_follow: bool = False) -> list[FrameResult]:
        """Log a group of frames in one transaction, on the disk when this returns. Raises `DatabaseWaits`.

        Gives the results as they were logged: a frame may be one that is logged already, its file rewritten.

        With `more_follow` their events may wait for those that come after: frames of one event are grouped together.
        """
        with self._writing() as events:
            followed, moved = Followed(), list[int]()
            logged = [self._record(result, followed, moved) for result in results]
            answered = [media for _, media in logged if media is not None]
            waiting = events.update([*answered, *moved], BACKLOG_S if more_follow else 0.0)
        events.committed(waiting)
        self._pinned = self._pinned or bool(answered)
        self._followed.moves.update(followed.moves)
        self._followed.shared |= followed.shared
        return [result for result, _ in logged]

    def decide_again(self, stop: threading.Event) -> int:
        """Decide from stored probabilities what other settings of the same model answered; gives the frames' number.

        What needs the image is left to the pipeline.
        """
        again = DecideAgain(
            self._connection,
            self._model,
            self._configuration,
            self._models.card,
            self._models.decider,
            self.settings.sources,
        )
        number = 0
        try:
            for answers in again.answers():
                with self._writing() as events:
                    for answer in answers:
                        self._decision(answer.media, answer.decision, None, answer.crop, answer.log_probabilities)
                    waiting = events.update([answer.media for answer in answers], BACKLOG_S)
                events.committed(waiting)
                number += len(answers)
                if stop.is_set():
                    break
        except DatabaseWaits as error:
            log.error("database: %s; the other frames are decided again from their images", error)
        return number

    def difference_from_reports(self) -> str | None:
        """One line when the decisions of this run are not those that reports use."""
        return describe_difference(self._connection, self._model, self._configuration)

    def heartbeat(self, status: HostStatus) -> None:
        """Log that the device is alive. Raises `DatabaseWaits`."""
        synchronised = None if status.clock_synchronised is None else int(status.clock_synchronised)
        with self._writing() as events:
            self._write(
                HEARTBEAT,
                *(iso_utc(status.at), status.backlog, status.free_bytes, status.temperature_c, synchronised),
                status.problem,
            )
            for media, path in self._connection.execute(PENDING).fetchall():
                # An incomplete file that was taken away, renamed or finished under another name; a missing folder is
                # something else: a card that is out for a moment.
                if not os.path.lexists(path) and os.path.isdir(os.path.dirname(path)):
                    self._write(FORGET_PLACEHOLDER, media)
            if status.clock_synchronised:
                judge_future(self._connection, status.at)
            waiting = events.update()
        events.committed(waiting)
        self._tell_what_followed()

    def _tell_what_followed(self) -> None:
        """One line on the frames that changed their deployment since the last one."""
        for line in self._followed.lines():
            log.warning("%s", line)
        self._followed = Followed()

    def work_out_image_digests(self, within_s: float) -> bool:
        """Give some frames of an earlier version their image digest; False when there is none left to read.

        Raises `DatabaseWaits`.
        """
        end = time.monotonic() + within_s
        while not self._image_digests.is_done and (left_s := end - time.monotonic()) > 0:
            try:
                found = self._image_digests.next(left_s)
            except sqlite3.Error as error:
                raise DatabaseWaits(f"{self._path}: {error}") from error
            if found:
                with self._writing():
                    self._connection.executemany(SET_IMAGE_DIGEST, found)
            self._image_digests.written(found)
        return not self._image_digests.is_done

    def free_bytes(self) -> int:
        """Free bytes of the file system that holds the database."""
        return self._disk.free_bytes()

    def _record(self, result: FrameResult, followed: Followed, moved: list[int]) -> tuple[FrameResult, int | None]:
        """Write one file's rows; gives the result as it was logged, and the media id of a frame whose event may change.

        Frames whose events change because a file was moved to another camera's folder are added to `moved`.
        """
        path = path_value(result.file.path)
        placeholder = self._connection.execute(UNCLASSIFIED_AT, (path,)).fetchone()
        if isinstance(result, FailedFile):
            media = placeholder[0] if placeholder else self._unclassified(result)
            deployment = self._sites.chosen(media, result.deployment, result.file.path)
            self._write(
                FAILED_FILE,
                *(path, result.digest, result.file.bytes, result.status, result.reason, result.tries),
                *(deployment, media),
            )
            self._saw(result.file, media)
            return result, None
        logged = self._logged(result)
        same_image = None
        if logged is None and isinstance(result, ClassifiedFrame):
            same_image = row_of_same_image(self._connection, result)
        if logged is not None:
            media, digest, last_path = logged
            # Where the content is one that the frame had before, the frame stays with the rewritten file.
            if digest == result.digest or not os.path.lexists(last_path):
                self._write(MOVED, path, media)
        elif isinstance(result, ClassifiedFrame):
            media = same_image or (placeholder[0] if placeholder else self._new_media(result.file))
        else:
            # Only when the database was replaced meanwhile; the folder is scanned again then.
            log.warning("%s was logged in a database that is gone; it is classified again", ascii(result.file.path))
            return result, None
        self._saw(result.file, media)
        if logged is not None:
            moved += self._sites.follow(media, followed)
        if placeholder and media != placeholder[0]:
            self._write(FORGET_PLACEHOLDER, placeholder[0])
        if not isinstance(result, ClassifiedFrame):
            return result, None
        if same_image is not None:
            rewritten = self._rewritten(media, result)
            moved += self._sites.follow(media, followed)
            return rewritten, int(media)
        if logged is None:
            self._classified(path, media, result)
        if self._known.has_answer(media):
            return result, None
        self._observe(media, result)
        return result, int(media)

    def _logged(self, result: ClassifiedFrame | Duplicate | RewrittenFrame) -> tuple[int, str, str] | None:
        """Media id, digest and path of the row that holds this content, or held it before its file grew on."""
        row: tuple[int, str, str] | None = self._connection.execute(CLASSIFIED, (result.digest,)).fetchone()
        if row is None and isinstance(result, Duplicate) and result.grown_from is not None:
            row = self._connection.execute(CLASSIFIED, (result.grown_from,)).fetchone()
            if row is not None:
                self._write(GREW, result.digest, result.file.bytes, row[0])
                change = Change(row[0], DIGEST, row[1], result.digest)
                write_changes(self._connection, [change], BY, "the file grew on")
                return row[0], result.digest, row[2]
        return row

    def _rewritten(self, media: int, frame: ClassifiedFrame) -> RewrittenFrame:
        """The logged frame `media`, in whose file metadata was rewritten, with an answer of this model."""
        # Files are corrected one after the other: the order of their names says nothing of the clock meanwhile.
        done = note_rewritten(self._connection, media, frame)
        if not self._known.has_answer(media):
            self._observe(media, frame)
        return RewrittenFrame(frame.file, frame.digest, done.old_time, done.new_time)

    def _classified(self, path: str | bytes, media: int, frame: ClassifiedFrame) -> None:
        deployment = self._sites.chosen(media, frame.deployment, frame.file.path)
        captured = self._clock_order.judged(path, frame.conclusion.captured, deployment)
        self._write(
            CLASSIFIED_FRAME,
            *(path, frame.digest, frame.file.bytes, frame.width_px, frame.height_px),
            *(iso_utc(captured.at), captured.raw or None, captured.zone, ",".join(captured.doubts) or None),
            *(captured.source or None, deployment),
            *(int(frame.conclusion.infrared), frame.conclusion.scene.tobytes(), frame.image_digest),
            *(frame.image_doubt, frame.pictures if frame.pictures > 1 else None, media),
        )

    def _unclassified(self, failed: FailedFile) -> int:
        """A row for an unclassifiable file: that of the same bytes when these were renamed, else a new one."""
        if failed.digest is not None:
            for media, path in self._connection.execute(UNCLASSIFIED_WITH, (failed.digest,)):
                if not os.path.lexists(path):
                    return int(media)
        return self._new_media(failed.file)

    def _observe(self, media: int, frame: ClassifiedFrame) -> None:
        if not self._pinned:
            self._write(FIRST_PIN, self._model, self._configuration, iso_utc(now()))
        concluded = frame.conclusion
        self._decision(media, concluded.decision, concluded.count, concluded.crop, concluded.log_probabilities)
        for number, subject in enumerate(concluded.subjects, 1):
            self._observation(
                media, number, subject.decision, 1, subject.box, BoxSource.DETECTOR, subject.log_probabilities
            )

    def _decision(
        self,
        media: int,
        decision: Decision,
        count: int | None,
        crop: Box | None,
        log_probabilities: NDArray[np.float32] | None,
    ) -> None:
        shown = crop if decision.kind not in (Kind.BLANK, Kind.UNKNOWN) else None
        self._observation(media, 0, decision, count, shown, BoxSource.ATTENTION, log_probabilities)

    def _observation(
        self,
        media: int,
        subject: int,
        decision: Decision,
        count: int | None,
        box: Box | None,
        box_source: BoxSource,
        log_probabilities: NDArray[np.float32] | None,
    ) -> None:
        drawn = (None,) * 5 if box is None else (box.x, box.y, box.width, box.height, box_source)
        logs = None if log_probabilities is None else log_probabilities.astype(np.float16).tobytes()
        observation = self._write(
            NEW_OBSERVATION,
            *(
                media,
                self._run,
                self._model,
                self._configuration,
                subject,
                decision.kind,
                decision.taxon,
                decision.rank,
            ),
            *(decision.common_name, count, decision.confidence, decision.reason, *drawn),
            *(self._models.title, iso_utc(now()), logs),
        )
        for place, candidate in enumerate(decision.candidates, 1):
            self._write(NEW_CANDIDATE, observation, place, candidate.name, candidate.rank, candidate.probability)

    def _saw(self, file: FileState, media: int) -> None:
        self._write(SAW_FILE, path_value(file.path), file.bytes, file.mtime_ns, file.ctime_ns, media, iso_utc(now()))

    def _new_media(self, file: FileState) -> int:
        return self._write(NEW_MEDIA, path_value(file.path), file.bytes, iso_utc(now()))

    def _write(self, sql: str, *values: Any) -> int:
        return int(self._connection.execute(sql, values).lastrowid or 0)

    @contextmanager
    def _writing(self) -> Iterator[EventSchedule]:
        """A transaction on the file that is at the path now, in a healthy database, on a disk with room.

        Raises `DatabaseWaits`; any other error may be the fault of what is written, for the database was opened anew
        for it before.
        """
        try:
            if self._disk.was_replaced():
                if not self._disk.is_closed:  # else this was said before, and opening what is there failed
                    log.error(
                        "database: %s was removed or replaced while in use; going on with what is there", self._path
                    )
                self._reopen()
            self._restore_parts()
            self._disk.demand_room()
        except (sqlite3.Error, OSError, SchemaError) as error:
            raise DatabaseWaits(_with_path(self._path, error)) from error
        assert self._events is not None
        try:
            with writing(self._connection):
                yield self._events
        except DatabaseWaits:
            raise
        except Exception as error:
            if isinstance(error, sqlite3.OperationalError) and not _MISSING.match(str(error)):
                raise DatabaseWaits(_with_path(self._path, error)) from error  # locked, full, failing
            if self._opened_in_vain and not isinstance(error, sqlite3.OperationalError):
                raise
            self._open_anew(error)
        self._opened_in_vain = False

    def _open_anew(self, error: Exception) -> NoReturn:
        """Opening repairs a damaged database, and begins without what was known of rows that are gone."""
        waits = DatabaseWaits if self._opened_in_vain else DatabaseOpenedAnew
        if not self._opened_in_vain:
            log.error("database: %s: %s (%s); it is opened anew", self._path, error, type(error).__name__)
        self._opened_in_vain = True
        try:
            self._reopen()
        except (sqlite3.Error, OSError, SchemaError) as failure:
            raise DatabaseWaits(_with_path(self._path, failure)) from failure
        raise waits(_with_path(self._path, error)) from error

    def _restore_parts(self) -> None:
        """Make anew what another program took out of the tables, which SQLite's counter of their changes tells."""
        (version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        if version != self._schema_version:
            if missing_table(self._connection) is not None:
                self._reopen()
            else:
                make_again(self._connection)
            (self._schema_version,) = self._connection.execute("PRAGMA schema_version").fetchone()

    def _reopen(self) -> None:
        self._close()
        self._disk.closed()  # so that a failure here leads here again
        self._run = None  # it is not in the file that is there now
        self._open()


def _with_path(path: Path, error: Exception) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _settings_json(settings: Settings, models: Models, roots: dict[str, str]) -> str:
    document = msgspec.to_builtins(settings, enc_hook=str) | {"roots": roots}
    if models.detector is not None:
        document["detector_sha256"] = models.detector.model.sha256
    return json.dumps(document, sort_keys=True)
