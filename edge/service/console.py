"""What a run prints while it works: a line for each frame, a live counter for people, or JSON for programs."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, TextIO

from edge.capture.capture_time import CaptureTime, read_time
from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, FrameResult, RewrittenFrame
from edge.host.journald import FRAME_FAILED, JournalHandler, fields, is_journal
from edge.host.one_line import printable
from edge.host.plain_text import ERASE_LINE, as_it_is
from edge.host.safe_output import SafeOutput
from edge.inference.decision import Decision
from edge.service.frame_log import FrameLog
from edge.vocabulary import ClockDoubt, DecisionReason, Kind, MediaStatus

log = logging.getLogger("edge")


class LoggedFiles(Protocol):
    """What the database knows of the files that are logged."""

    def detection(self, file: FileState) -> dict[str, Any]:
        """A logged file's row of the view `detections`, by column."""

    def other_path(self, file: FileState) -> str | None:
        """Another path at which the content of a logged file was seen first."""


class LiveLine:
    """The line at the bottom of a terminal that is written over again and again; whole lines go above it."""

    def __init__(self, out: SafeOutput, is_live: bool) -> None:
        self.is_live = is_live
        self._out = out
        self._text = ""
        self.lock = RLock()
        """Also the log handler's: two locks, taken in either order, could wait for each other."""

    def show(self, text: str) -> None:
        """Put `text` in place of what the line shows; nothing where no one watches."""
        if self.is_live:
            with self.lock:
                self._text = text
                self._out.write(f"{ERASE_LINE}{text}")

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Take the line away while whole lines are written, and put it back below them."""
        with self.lock:
            if self._text:
                self._out.write(ERASE_LINE)
            yield
            if self._text:
                self._out.write(self._text)


class Console:
    """Counts results and prints them.

    Paths are shown relative to `base`. With `as_json` each logged file is its row of the view `detections`.
    """

    def __init__(self, out: TextIO, base: Path, quiet: bool = False, as_json: bool = False) -> None:
        self._out = SafeOutput(as_it_is(out))
        self._base = base
        self._quiet = quiet
        self._as_json = as_json
        self.live_line = LiveLine(self._out, is_live=out.isatty() and not as_json and not quiet)
        self._logged: LoggedFiles | None = None
        self._frame_log = FrameLog() if is_journal(out) else None
        self._total: int | None = None
        self._begun = time.monotonic()
        self._next_progress = 0.0
        self._waiting = self._known = self._passed_by = self._copies = self._rewritten = 0
        self.classified = self.unsupported = self.failed = 0
        self.last = ""
        """What the last classified frame showed."""
        self.trouble = False
        """Whether anything could not be read; becomes the exit code."""

    def begin(self, logged: LoggedFiles) -> None:
        """The database is open: the work begins."""
        self._logged = logged
        self._begun = time.monotonic()

    @property
    def done(self) -> int:
        """Files that are settled, those that were logged before included."""
        return self._passed_by + self._read

    @property
    def _read(self) -> int:
        return self.classified + self._copies + self._rewritten + self.unsupported + self.failed

    def __call__(self, result: FrameResult) -> None:
        if isinstance(result, ClassifiedFrame):
            self.classified += 1
            self.last = result.conclusion.decision.common_name
            self._print_frame(result)
        elif isinstance(result, Duplicate):
            self._copies += 1
            self._print_duplicate(result)
        elif isinstance(result, RewrittenFrame):
            self._rewritten += 1
            self._print_rewritten(result)
        elif result.status == MediaStatus.UNSUPPORTED:
            self.unsupported += 1
            self._log_failure(logging.INFO, result)
        elif result.final:
            self.failed += 1
            self.trouble = True
            self._log_failure(logging.WARNING, result)
            if self._as_json:
                self._print_row(result)
        else:
            log.info("%s: incomplete (%s), it is tried again", printable(result.file.path), result.reason)
        self.progress()

    def expect(self, total: int) -> None:
        """So many files are to come: the count becomes a time left."""
        self._total = total

    def complain(self, error: OSError) -> None:
        """Warn of a path that could not be read; the run goes on and its exit code tells of it."""
        self.trouble = True
        log.warning("%s: %s", printable(os.fsdecode(error.filename or "")), error.strerror)

    def waiting(self, files: int, known: int = 0) -> None:
        """So many files wait, and so many in the folder were logged before: under a backlog the journal gets sums."""
        self._waiting, self._known = files, known
        if self._frame_log is not None:
            self._frame_log.waiting(files)

    def pass_by(self, files: int) -> None:
        """So many files are logged already and were not read."""
        self._passed_by += files
        self.progress()

    def progress(self) -> None:
        """Bring the live counter up to date, a few times a second at most."""
        at = time.monotonic()
        if self.live_line.is_live and at >= self._next_progress:
            self._next_progress = at + 0.2
            self.live_line.show(self._counter(at - self._begun))

    def _counter(self, elapsed_s: float) -> str:
        """Files done, rate, and the time left once it is known how many files are to come."""
        files = self.done if self._total is None else self._total
        of = "" if self._total is None else f" of {self._total}"
        words = [f"{self.done}{of} file{'' if files == 1 else 's'}"]
        if self._read:
            rate = self._read / max(elapsed_s, 1e-9)
            words.append(
                f"{rate:.0f}/s" if rate >= 9.95 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"
            )
            if self._total is not None:
                words.append(f"{_duration(max(self._total - self.done, 0) / rate)} left")
        return ", ".join(words)

    def finish(self, left: str = "") -> None:
        """Log what was done; `left` tells how much was not."""
        self.live_line.show("")
        if self._frame_log is not None:
            self._frame_log.flush()
        words = [f"{self.classified} new", f"{self._passed_by + self._copies + self._known} already logged"]
        words += [
            f"{count} {what}"
            for count, what in (
                (self._rewritten, "with new metadata"),
                (self.failed, "unreadable"),
                (self.unsupported, "unsupported"),
                (self._waiting, "waiting"),
            )
            if count
        ]
        words += [left] if left else []
        log.info("%s in %.1f s", ", ".join(words), time.monotonic() - self._begun)

    def _log_failure(self, level: int, failed: FailedFile) -> None:
        extra = fields(FRAME_FAILED, FRAME=failed.file.path, REASON=failed.reason)
        words = (printable(failed.file.path), failed.reason, printable(failed.detail))
        log.log(level, "%s: %s: %s", *words, extra=extra)

    def _print_frame(self, frame: ClassifiedFrame) -> None:
        if self._as_json:
            self._print_row(frame)
            return
        concluded = frame.conclusion
        moment, name = _as_the_camera_wrote(concluded.captured), self._name(frame.file.path)
        line = f"{moment}  {name}  {_in_words(concluded.decision)}"
        if self._frame_log is not None and not self._quiet:
            self._frame_log.add(frame, line)
        else:
            self._print(line)

    def _print_duplicate(self, duplicate: Duplicate) -> None:
        if duplicate.grown_from is not None:
            self._print(f"{self._name(duplicate.file.path)}  same frame as before, bytes were appended to its file")
        elif self._logged is not None and (other := self._logged.other_path(duplicate.file)) is not None:
            self._print(f"{self._name(duplicate.file.path)}  same content as {self._name(other)}")

    def _print_rewritten(self, frame: RewrittenFrame) -> None:
        if self._as_json:
            self._print_row(frame)
            return
        same_time = frame.old_time == frame.new_time
        time = "" if same_time else f", taken at {frame.new_time}, no longer at {frame.old_time}"
        self._print(f"{self._name(frame.file.path)}  same frame as before, with new metadata{time}")

    def _print(self, line: str) -> None:
        """Print a line for people; programs and the journal have records instead."""
        if not self._as_json and not self._quiet and self._frame_log is None:
            with self.live_line.lifted():
                self._out.write(printable(line) + "\n")

    def _print_row(self, result: ClassifiedFrame | FailedFile | RewrittenFrame) -> None:
        assert self._logged is not None
        row = {
            name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
            for name, value in self._logged.detection(result.file).items()
        }
        # JSON escapes only the first 32 control characters by itself.
        text = re.sub("[\x7f-\x9f]", lambda c: f"\\u{ord(c[0]):04x}", json.dumps(row, ensure_ascii=False))
        self._out.write(text + "\n")

    def _name(self, path: str) -> str:
        """The path relative to the folder that was given, so that equal names of two cameras differ."""
        file = Path(path)
        return printable(str(file.relative_to(self._base) if file.is_relative_to(self._base) else file))


def _in_words(decision: Decision) -> str:
    if decision.kind == Kind.UNKNOWN:
        strange = "unlike what the model knows" if decision.reason == DecisionReason.OUT_OF_DISTRIBUTION else ""
        best = next(iter(decision.candidates), None)
        guess = f"best guess: {best.common_name}, {best.probability:.0%}" if best else ""
        why = "; ".join(filter(None, (strange, guess)))
        return f"unknown ({why})" if why else "unknown"
    name = decision.common_name if decision.taxon is None else f"{decision.common_name} ({decision.taxon})"
    rolled_up = "  rolled up" if decision.reason == DecisionReason.ROLLED_UP else ""
    return f"{name}  {decision.confidence:.2f}{rolled_up}"


def _as_the_camera_wrote(captured: CaptureTime) -> str:
    """The time that is burnt into the frame; the file's, in the host's zone, when there is none."""
    file_s_own = {ClockDoubt.NO_EXIF, ClockDoubt.UNREADABLE_TIME} & set(captured.doubts)
    read = None if file_s_own else read_time(captured.raw)
    return f"{captured.at.astimezone() if read is None else read.local:%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours else f"{minutes}:{whole:02}"


class _LogHandler(logging.StreamHandler[TextIO]):
    """Log lines on standard error, above the live line."""

    def __init__(self, live_line: LiveLine) -> None:
        super().__init__(as_it_is(sys.stderr))
        self._live_line = live_line
        self.lock = live_line.lock

    def emit(self, record: logging.LogRecord) -> None:
        with self._live_line.lifted():
            super().emit(record)


class _PlainFormatter(logging.Formatter):
    """Quotes as plain text; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return printable(super().formatMessage(record))


def configure_logging(verbose: bool, quiet: bool, live_line: LiveLine) -> None:
    """Log lines on standard error, or records in the journal; standard output belongs to the results."""
    if is_journal(sys.stderr):
        handler: logging.Handler = JournalHandler()
        form = "%(message)s"
    else:
        handler, form = _LogHandler(live_line), "%(levelname)s %(message)s"
    handler.setFormatter(_PlainFormatter(form))
    logging.basicConfig(handlers=[handler])
    log.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
