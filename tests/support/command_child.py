"""Runs commands one after the other in a child process, and sees what each one said, how long it took and how it ended.

A fresh interpreter for each of thousands of command lines would take hours. The child answers each in the same
interpreter; when a command ends it (or hangs), the next one gets a new child.
"""

import importlib
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.signal_handlers import keep_signals


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int | str | None
    """Exit code; a signal's name where it crashed, `None` where it hung."""
    out: str
    err: str
    seconds: float
    """Time of the processor."""
    peak_mb: float
    """Peak memory of the child by then."""

    def problem(self, most_lines: int = 4, most_s: float = 5.0) -> str | None:
        """What is wrong with that; `None` when it is a clean end, or a clean refusal."""
        if self.code not in (0, 1, 2, 130):
            return f"ended with {self.code}"
        if "Traceback" in self.err or "Error:" in self.err.partition("\n")[0][:40]:
            return "a traceback"
        if any(not c.isprintable() and c not in "\n\r\t" for c in self.err):
            return "control characters on stderr"
        lines = [line for line in self.err.splitlines() if line.strip() and not line.startswith(("usage:", " "))]
        if len(lines) > most_lines or max(map(len, lines), default=0) > 1500:
            return f"{len(lines)} lines on stderr"
        if self.code == 2 and not lines:
            return "no word about what is wrong"
        return f"it took {self.seconds:.1f} s" if self.seconds > most_s else None


class CommandChild:
    """A child process that runs commands of `edge`, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, module: str, arguments: list[str], hang_s: float = 30.0) -> Ended:
        """Run `main(arguments)` of a module."""
        if self._process is None or not self._process.is_alive():
            context = get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other, str(self.folder)), daemon=True)
            self._process.start()
            other.close()
            assert self._pipe.poll(60)
            self._pipe.recv()
        assert self._pipe is not None
        start = time.monotonic()
        self._pipe.send((module, arguments))
        answered = self._pipe.poll(hang_s)
        if answered:
            with suppress(EOFError):
                return Ended(*self._pipe.recv())
        elif self._process.is_alive():
            self._process.kill()
        self._process.join()
        code = self._process.exitcode
        told: int | str | None = None if not answered else code if code >= 0 else signal.Signals(-code).name
        self._process = None
        said = [(self.folder / name).read_text("utf-8", "backslashreplace") for name in (".stdout", ".stderr")]
        return Ended(told, said[0], said[1], time.monotonic() - start, 0.0)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, folder: str) -> None:
    os.chdir(folder)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    files = [os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for name in (".stdout", ".stderr")]
    os.dup2(files[0], 1)
    os.dup2(files[1], 2)
    pipe.send("ready")
    while True:
        module, arguments = pipe.recv()
        for file in files:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
        start = time.process_time()
        code: Any
        try:
            with keep_signals():
                code = importlib.import_module(module).main(arguments)
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        seconds = time.process_time() - start
        said = []
        for file in files:
            said.append(os.pread(file, 1_000_000, 0).decode("utf-8", "backslashreplace"))
        # Not `ru_maxrss`, which begins with what the process had that started this one.
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
        pipe.send((int(code or 0), *said, seconds, peak))
