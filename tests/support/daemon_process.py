"""Starts the real daemon as a process, watches its log and database, and counts what an attack lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from tests.support.places import REPOSITORY

STARTED: "list[subprocess.Popen[bytes]]" = []
"""Every daemon of the current test, so that none outlives it."""


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=20).hexdigest()


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Check every few milliseconds; fails the test if `true` does not hold in time."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < end, f"waited {seconds:.0f} s for: {what}"
        pause.wait(0.02)


@dataclass
class DaemonProcess:
    """A folder with captures, its database, and the daemon that works on them."""

    folder: Path
    model: Path
    flags: Sequence[str] = ("--settle-s", "0.3", "--give-up-s", "60", "--min-free-bytes", "0", "--json")
    wrapper: Sequence[str] = ()
    """The command line in front of the daemon's, such as strace."""
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def captures(self) -> Path:
        return self.folder / "captures"

    @property
    def database(self) -> Path:
        return self.folder / "detections.db"

    @property
    def log(self) -> str:
        path = self.folder / "daemon.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, *more: str, watch: Path | None = None) -> "DaemonProcess":
        self.captures.mkdir(parents=True, exist_ok=True)
        command = [*self.wrapper, sys.executable, "-m", "edge.commands.classify"]
        command += ["--watch", str(watch or self.captures)]
        command += ["--db", str(self.database), "--model", str(self.model), *self.flags, *more]
        with (self.folder / "daemon.log").open("ab") as log, (self.folder / "daemon.out").open("ab") as out:
            environment = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **self.environment}
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=out,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        STARTED.append(self.process)
        return self

    def wait_for_log(self, text: str, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until `text` is in the daemon's log that many times."""
        wait_until(lambda: self.log.count(text) >= times, seconds, f"{text!r} in the log:\n{self.log[-2000:]}")

    @property
    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to the daemon and to the processes that it started, and wait for its end."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(60)

    def stop(self) -> None:
        """End the daemon as the service manager does; it must exit with 0."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(60) == 0, self.log

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def classified(self) -> list[str]:
        """The digest of each logged frame, once for each of its observations."""
        if not self.database.exists():
            return []
        try:
            rows = self.query(
                "SELECT m.digest FROM media m JOIN observation o ON o.media = m.id WHERE m.status = 'classified'"
            )
        except sqlite3.DatabaseError:
            return []  # it does not exist yet, or the test has damaged it
        return [str(name) for (name,) in rows]

    def wait_for(self, digests: set[str], seconds: float = 60.0) -> None:
        """Wait until the daemon has logged all of these; fails with its log if it ends or takes too long."""

        def done() -> bool:
            assert self.process is None or self.process.poll() is None, f"the daemon ended:\n{self.log[-3000:]}"
            return digests <= set(self.classified())

        wait_until(
            done, seconds, f"{len(digests)} frames, {len(set(self.classified()))} are logged\n{self.log[-2000:]}"
        )


@dataclass(frozen=True)
class Tally:
    """The outcome of one attack, printed as one line."""

    attack: str
    cases: int
    survived: int
    lost: int
    duplicated: int
    note: str = ""

    def __str__(self) -> str:
        more = f"; {self.note}" if self.note else ""
        return (
            f"{self.attack}: {self.cases} cases, {self.survived} survived, {self.lost} lost, "
            f"{self.duplicated} duplicated{more}"
        )

    @classmethod
    def of(cls, attack: str, cases: int, whole: set[str], daemon: DaemonProcess, note: str = "") -> "Tally":
        """Compare the logged frames with the digests of the whole frames that were written."""
        logged = daemon.classified()
        halves = len(set(logged) - whole)
        lost = len(whole - set(logged))
        duplicated = len(logged) - len(set(logged))
        survived = 0 if halves or lost or duplicated else cases
        words = f"{len(whole)} frames in, {len(logged)} rows out, {halves} halves scored"
        return cls(attack, cases, survived, lost, duplicated, f"{words}{'; ' if note else ''}{note}")

    @property
    def is_clean(self) -> bool:
        return self.survived == self.cases and not self.lost and not self.duplicated


class Burst:
    """Frames to write one after the other, under new names."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = iter(sorted(frames, key=len))
        self.whole: set[str] = set()

    def take(self) -> bytes:
        """The next frame's bytes, for a test that writes the file itself."""
        data = next(self._frames)
        self.whole.add(digest(data))
        return data

    def write(self, folder: Path, count: int) -> None:
        for _ in range(count):
            (folder / f"IMG_{len(self.whole):04}.JPG").write_bytes(self.take())
