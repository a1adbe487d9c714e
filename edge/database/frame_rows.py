"""The rows of one file: what it is, where it was seen, what it shows, and the candidates of each decision.

Nothing here begins or ends a transaction; `edge.database.store` does.
"""

import logging
import os
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.capture.files import FileState
from edge.database.corrections.audit import Change, write_changes
from edge.database.corrections.clock_order import ClockOrder
from edge.database.corrections.rewritten_files import BY, note_rewritten, row_of_same_image
from edge.database.corrections.rewritten_files import FIELD as DIGEST
from edge.database.corrections.sites import Followed, Sites
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, FrameResult, RewrittenFrame
from edge.database.known_files import CLASSIFIED, KnownFiles, path_value
from edge.image.box import Box
from edge.inference.decision import Decision
from edge.timestamps import iso_utc, now
from edge.vocabulary import BoxSource, Kind

log = logging.getLogger(__name__)

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
FIRST_PIN = """
INSERT INTO pin (model, configuration, at, "by")
SELECT ?, ?, ?, 'edge-classify' WHERE NOT EXISTS (SELECT 1 FROM pin)
"""


@dataclass(slots=True)
class FrameRows:
    """Writes the rows of files for one run, with one model and configuration."""

    _connection: sqlite3.Connection
    _sites: Sites
    _known: KnownFiles
    _clock_order: ClockOrder
    _run: int
    _model: int
    _configuration: int
    _title: str
    """Name and version of the models."""
    pinned: bool
    """Whether it is settled whose decisions reports use."""

    def record(self, result: FrameResult, followed: Followed, moved: list[int]) -> tuple[FrameResult, int | None]:
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
        if not self.pinned:
            self._write(FIRST_PIN, self._model, self._configuration, iso_utc(now()))
        concluded = frame.conclusion
        self.decide(media, concluded.decision, concluded.count, concluded.crop, concluded.log_probabilities)
        for number, subject in enumerate(concluded.subjects, 1):
            self._observation(
                media, number, subject.decision, 1, subject.box, BoxSource.DETECTOR, subject.log_probabilities
            )

    def decide(
        self,
        media: int,
        decision: Decision,
        count: int | None,
        crop: Box | None,
        log_probabilities: NDArray[np.float32] | None,
    ) -> None:
        """Write the decision on a whole frame."""
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
            *(self._title, iso_utc(now()), logs),
        )
        for place, candidate in enumerate(decision.candidates, 1):
            self._write(NEW_CANDIDATE, observation, place, candidate.name, candidate.rank, candidate.probability)

    def _saw(self, file: FileState, media: int) -> None:
        self._write(SAW_FILE, path_value(file.path), file.bytes, file.mtime_ns, file.ctime_ns, media, iso_utc(now()))

    def _new_media(self, file: FileState) -> int:
        return self._write(NEW_MEDIA, path_value(file.path), file.bytes, iso_utc(now()))

    def _write(self, sql: str, *values: Any) -> int:
        return int(self._connection.execute(sql, values).lastrowid or 0)
