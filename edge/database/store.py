"""The one writer of the detections database: opens it, and logs frames, none split over two transactions.

The database is the only state that the daemon has.
"""

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from edge.capture.files import FileState
from edge.database.configuration import configuration_of, save_configuration
from edge.database.corrections.capture_times import follow_zones, judge_future
from edge.database.corrections.clock_order import ClockOrder
from edge.database.corrections.image_digests import SET as SET_IMAGE_DIGEST
from edge.database.corrections.image_digests import ImageDigests
from edge.database.corrections.sites import Followed, Sites, without_known_folders
from edge.database.decisions.decide_again import DecideAgain
from edge.database.decisions.model_choice import describe_difference
from edge.database.disk_guard import DatabaseOpenedAnew, DatabaseWaits, DiskGuard
from edge.database.events.schedule import BACKLOG_S, EventSchedule
from edge.database.events.table import make_grouper, update_events
from edge.database.frame_files import real_roots
from edge.database.frame_result import FrameResult
from edge.database.frame_rows import FORGET_PLACEHOLDER, FrameRows
from edge.database.held_file import HeldFile
from edge.database.known_files import Asked, KnownFiles, path_value
from edge.database.repair.hidden_damage import find_hidden_damage
from edge.database.repair.missing_parts import make_again, missing_table
from edge.database.repair.recovery import open_or_repair, repair
from edge.database.repair.sqlite_errors import is_passing
from edge.database.schema import SchemaError, open_database
from edge.database.transaction import writing
from edge.host.status import HostStatus
from edge.inference.predictor import Models
from edge.settings.options import Settings
from edge.timestamps import iso_utc, now
from edge.version import __version__

log = logging.getLogger(__name__)

DETECTION = "SELECT d.* FROM file f JOIN detections d ON d.media = f.media WHERE f.path = ?"
NEW_MODEL = """
INSERT INTO model (sha256, name, version, card) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET card = excluded.card WHERE card = '{}' -- what salvage could not read
"""
NEW_RUN = "INSERT INTO run (started_at, software_version, model, configuration, settings) VALUES (?, ?, ?, ?, ?)"
END_RUN = "UPDATE run SET ended_at = ? WHERE id = ?"
LAST_RUN = "SELECT ended_at, software_version FROM run ORDER BY id DESC LIMIT 1"
TRY_AGAIN = "UPDATE media SET status = 'pending' WHERE status = 'unreadable' AND reason = 'internal_error'"
HEARTBEAT = """
INSERT INTO heartbeat (at, backlog, free_bytes, temperature_c, clock_synchronised, problem) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (at) DO NOTHING
"""
PENDING = "SELECT id, path FROM media WHERE status = 'pending' AND reason IS NOT 'internal_error'"
_UNFORESEEN = (sqlite3.Error, ValueError, TypeError, LookupError, ArithmeticError)
"""What code that reads a garbled value has been seen to raise."""


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
        """Open the database, and repair it when its values keep a run from beginning, which no check of pages sees."""
        self._connect()
        try:
            self._begin()
        except _UNFORESEEN as error:
            if is_passing(error) or not self._is_repaired():
                raise
            self._connect()
            self._begin()

    def _is_repaired(self) -> bool:
        """Repair the database where values in it cannot be right; gives whether there were any."""
        damage = find_hidden_damage(self._connection)
        if damage is None:
            return False
        self._close()
        repair(self._path, damage)
        return True

    def _connect(self) -> None:
        self._held.hold()  # before it is opened: each name of a file has a log of its own
        self._connection = open_or_repair(self._path)
        (self._schema_version,) = self._connection.execute("PRAGMA schema_version").fetchone()
        self._reading = Asked(open_database(self._path, read_only=True), self._path)
        self._held.hold()

    def _begin(self) -> None:
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
        self.difference_from_reports()  # told later; what keeps it from being told is found now, and repaired
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
            pinned = self._connection.execute("SELECT 1 FROM pin").fetchone() is not None
            if self._run is not None:
                self._write(END_RUN, iso_utc(now()), self._run)
            elif self._version_before not in (None, __version__):
                self._write(TRY_AGAIN)
            sites = Sites(self._connection, self.settings)
            followed = sites.begin() if self._run is None else Followed()
        for line in followed.lines():
            log.warning("%s", line)
        self._followed = Followed()
        self._models, self._model, self._configuration, self._run = models, model, configuration, run
        self._known, self._known_to_threads = (
            KnownFiles(asked, self._path, self.settings, model, configuration)
            for asked in (Asked(self._connection, self._path), self._reading)
        )
        self._rows = FrameRows(
            self._connection,
            sites,
            self._known,
            self._clock_order,
            run,
            model,
            configuration,
            models.title,
            pinned,
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
            logged = [self._rows.record(result, followed, moved) for result in results]
            answered = [media for _, media in logged if media is not None]
            waiting = events.update([*answered, *moved], BACKLOG_S if more_follow else 0.0)
        events.committed(waiting)
        self._rows.pinned = self._rows.pinned or bool(answered)
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
                        self._rows.decide(answer.media, answer.decision, None, answer.crop, answer.log_probabilities)
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
            if is_passing(error):
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
            self._is_repaired()
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
