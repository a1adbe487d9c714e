"""Crash guard: after a crash, frames are tried in a child process, to find the one that crashes the decoder.

After a run that did not end as it should (a crash, or only a power cut) the first frames that are not logged are the
ones that were in hand. Each of them is decoded and classified in a child process; when the child crashes or hangs on
it, three times, the frame is at fault, and the daemon leaves it out. The normal path costs nothing.

Run as a module, this is that child: it takes one path (as JSON) a line and says `read`, then `done`.
"""

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from edge.capture.files import read_bytes
from edge.host.limits import limited_time
from edge.image.decode import decode
from edge.image.memory_limit import MAX_BYTES
from edge.inference.decision import Decider
from edge.inference.detector import Detector
from edge.inference.model import STARTER, Model
from edge.inference.predictor import Models, classify
from edge.service.model_reload import check_models
from edge.settings.options import Settings

TRIES = 3
HANG_S = 60  # the largest image that is let in takes a Raspberry Pi a quarter of it
DETECTOR_HANG_S = 300  # a large one takes most of a minute on such a processor
SUSPECTS = 128  # more than can be in hand at once, also with --power
_IDLE_S = 60.0
_NOBODYS_FAULT = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}  # someone ended the service


class Undecided(Exception):
    """The trial was broken off from outside: the service is being ended."""


class CrashGuard:
    """Which frames go on trial: the first ones after a bad end, and content that failed a trial before."""

    def __init__(self, settings: Settings, ended_badly: bool, has_crashed: Callable[[str], bool]) -> None:
        self._trial = TrialProcess(settings)
        self._has_crashed = has_crashed
        self._left = 0
        if ended_badly:
            self.suspect()

    @property
    def is_busy(self) -> bool:
        return self._trial.is_busy

    def suspect(self) -> None:
        """Something crashed: what was in hand goes on trial."""
        self._left = SUSPECTS
        self._trial.prepare()

    def close(self) -> None:
        self._trial.close()

    def fault(self, digest: str, path: str) -> str | None:
        """What is wrong with a file's content, in one line; `None` when there is no reason to suspect it.

        Raises `Undecided`.
        """
        if self._left > 0:
            self._left -= 1
        elif not self._has_crashed(digest):
            return None
        return self._trial.fault(path)


class TrialProcess:
    """Decides whether a frame can be decoded and classified safely."""

    def __init__(self, settings: Settings) -> None:
        self._hang_s = HANG_S if settings.detector is None else DETECTOR_HANG_S
        self._command = [
            sys.executable,
            "-m",
            "edge.service.crash_guard",
            str(self._hang_s),
            str(settings.model or STARTER),
        ]
        self._command += [] if settings.detector is None else [str(settings.detector)]
        self._child: subprocess.Popen[str] | None = None
        self._lock = Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a frame is on trial now; it may take up to `TRIES` * `HANG_S`."""
        return self._lock.locked()

    def prepare(self) -> None:
        """Start the child, which takes a moment, while something else is done."""
        self._running_child()

    def fault(self, path: str) -> str | None:
        """What the frame does to its decoder, in one line; `None` when it does nothing, or nothing was learnt."""
        with self._lock:
            for _ in range(TRIES):
                fault = self._try_once(path)
                if fault is None:
                    return None
            return f"{fault}, {TRIES} times of {TRIES}"

    def _try_once(self, path: str) -> str | None:
        child = self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(path) + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            return None
        said = child.stdout.readline().strip()
        was_read = said == "read"
        began = time.monotonic()
        if was_read:
            said = child.stdout.readline().strip()
        if said == "done":
            return None
        code = child.wait()
        self._close_child()
        if -code in _NOBODYS_FAULT:
            raise Undecided
        if not was_read:
            return None
        if code > 0 and time.monotonic() - began >= self._hang_s:
            return f"it hangs for {self._hang_s} s"
        return f"it ends the decoder ({_how_it_ended(code)})"

    def _running_child(self) -> "subprocess.Popen[str]":
        if self._child is not None and self._child.poll() is not None:
            self._close_child()
        if self._child is None:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        return self._child

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._close_child()

    def _close_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what it was asked and never read
                        pipe.close()


def _how_it_ended(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


def main(arguments: Sequence[str]) -> int:
    """The child; ends when the parent does, or when nothing was asked for a minute."""
    hang_s = float(arguments[0])
    # Where a broken model lies by now, while the daemon still uses the old one, nothing is learnt of any frame.
    with limited_time(hang_s, lambda: os._exit(1)):
        model = Model(Path(arguments[1]))
        models = Models(model, Decider(model.card), Detector(arguments[2]) if arguments[2:] else None)
        check_models(models, (), made=1)
    while select.select([sys.stdin], [], [], _IDLE_S)[0] and (line := sys.stdin.readline()):
        path = json.loads(line)
        try:
            data = read_bytes(path, MAX_BYTES)
        except OSError:
            data = b""
        print("read", flush=True)
        faulthandler.dump_traceback_later(hang_s, exit=True)
        # Refused, or an error that the daemon meets as well and logs as the file's own: both are safe.
        with suppress(Exception, SystemExit):
            classify(models, decode(data, models.decode_side_px, path))
        faulthandler.cancel_dump_traceback_later()
        print("done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
