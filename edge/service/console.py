"""What a run says while it works: quiet lines and progress for people, plain log lines, or JSON for programs."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, FrameResult
from edge.host.journald import FRAME_FAILED, JournalHandler, fields, is_journal
from edge.host.safe_output import SafeOutput
from edge.service.frame_log import FrameLog

log = logging.getLogger("edge")


def printable(text: str) -> str:
    """`text` without control characters: a file's name must not be able to write on the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text.encode(
        "utf-8", "backslashreplace").decode())  # fmt: skip


class Console:
    """Counts results and says them: as JSON when `row_of` gives a logged file's row of the view `detections`."""

    def __init__(self, out: TextIO, quiet: bool, row_of: Callable[[FileState], dict[str, Any]] | None = None) -> None:
        self._out = SafeOutput(out)
        self._row_of = row_of
        self._quiet = quiet
        self.is_live = out.isatty() and row_of is None and not quiet
        """Whether somebody watches the count."""
        self._frame_log = FrameLog() if is_journal(out) else None
        self._total: int | None = None
        self._begun = time.monotonic()
        self._next_progress = 0.0
        self.classified = self.again = self.unsupported = self.failed = 0
        self.last = ""
        """What the last classified frame showed."""
        self.trouble = False
        """Whether anything could not be read; becomes the exit code."""

    @property
    def done(self) -> int:
        return self.classified + self.again + self.unsupported + self.failed

    def __call__(self, result: FrameResult) -> None:
        if isinstance(result, ClassifiedFrame):
            self.classified += 1
            self.last = result.conclusion.decision.common_name
            self._say_scored(result)
        elif isinstance(result, Duplicate):
            self.again += 1
        elif result.status == "unsupported":
            self.unsupported += 1
            log.info("%s: %s: %s", printable(result.file.path), result.reason, printable(result.detail),
                     extra=fields(FRAME_FAILED, FRAME=result.file.path, REASON=result.reason))  # fmt: skip
        elif result.final:
            self.failed += 1
            self.trouble = True
            self._clear()
            log.warning("%s: %s: %s", printable(result.file.path), result.reason, printable(result.detail),
                        extra=fields(FRAME_FAILED, FRAME=result.file.path, REASON=result.reason))  # fmt: skip
            if self._row_of is not None:
                self._say_row(result)
        else:
            log.info("%s: not whole yet (%s), it waits", printable(result.file.path), result.reason)
        self.progress()

    def expect(self, total: int) -> None:
        """So many files are to come: the count becomes a time left."""
        self._total = total

    def complain(self, error: OSError) -> None:
        """A path that could not be looked into; the run goes on and its exit code says so."""
        self.trouble = True
        self._clear()
        log.warning("%s: %s", printable(os.fsdecode(error.filename)), error.strerror)

    def waiting(self, files: int) -> None:
        """So many files wait: under a backlog the journal gets sums."""
        if self._frame_log is not None:
            self._frame_log.waiting(files)

    def pass_by(self, files: int) -> None:
        """So many files are logged already and were not read."""
        self.again += files
        self.progress()

    def progress(self) -> None:
        """The line at the bottom of a terminal: done, rate, and time left once it is known how many are to come."""
        at = time.monotonic()
        if not self.is_live or at < self._next_progress:
            return
        self._next_progress = at + 0.2
        rate = self.done / max(at - self._begun, 1e-9)
        line = f"{self.done} files, {rate:.0f}/s"
        if self._total is not None:
            left = max(self._total - self.done, 0) / rate if rate else 0.0
            line = f"{self.done} of {self._total} files, {rate:.0f}/s, {_duration(left)} left"
        self._out.write(f"\r\x1b[K{line}")

    def finish(self) -> None:
        """Say what was done."""
        self._clear()
        if self._frame_log is not None:
            self._frame_log.flush()
        seconds = time.monotonic() - self._begun
        words = [f"{self.classified} classified"]
        if self.again:
            words.append(f"{self.again} already logged")
        if self.failed:
            words.append(f"{self.failed} unreadable")
        if self.unsupported:
            words.append(f"{self.unsupported} unsupported")
        log.info("%s in %.1f s", ", ".join(words), seconds)

    def _clear(self) -> None:
        if self.is_live:
            self._out.write("\r\x1b[K")

    def _say_row(self, result: ClassifiedFrame | FailedFile) -> None:
        assert self._row_of is not None
        row = {
            name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
            for name, value in self._row_of(result.file).items()
        }
        # JSON escapes only the first 32 control characters by itself.
        text = re.sub("[\x7f-\x9f]", lambda c: f"\\u{ord(c[0]):04x}", json.dumps(row, ensure_ascii=False))
        self._out.write(text + "\n")

    def _say_scored(self, scored: ClassifiedFrame) -> None:
        decision = scored.conclusion.decision
        if self._row_of is not None:
            self._say_row(scored)
            return
        if self._quiet:
            return
        self._clear()
        name = decision.common_name if decision.taxon is None else f"{decision.common_name} ({decision.taxon})"
        reason = "" if decision.reason in ("confident", "blank") else f"  {decision.reason.replace('_', ' ')}"
        moment = _as_the_camera_wrote(scored.conclusion.captured)
        file = printable(Path(scored.file.path).name)
        line = f"{moment}  {file}  {name}  {decision.confidence:.2f}{reason}"
        if self._frame_log is not None:
            self._frame_log.add(scored, line)
            return
        self._out.write(line + "\n")


def _as_the_camera_wrote(captured: CaptureTime) -> str:
    """The time that is burnt into the frame; the file's, in the host's zone, when there is none."""
    if "no_exif" in captured.doubts:
        return captured.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return captured.raw[:10].replace(":", "-") + captured.raw[10:19]


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours else f"{minutes}:{whole:02}"


def configure_logging(verbose: bool, quiet: bool) -> None:
    """Log lines on standard error, or records in the journal; standard output belongs to the results."""
    if is_journal(sys.stderr):
        logging.basicConfig(handlers=[JournalHandler()], format="%(message)s")
    else:
        logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s")
    log.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
