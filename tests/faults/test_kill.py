"""kill -9 at random moments over a stream of frames."""

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

from tests.support.daemon_process import DaemonProcess, Tally, digest, wait_until
from tests.support.requirements import LONG

KILLS = int(os.environ.get("FAULTS_KILLS", "200" if LONG else "30"))
_LATEST_KILL_S = 0.2


class Stream(threading.Thread):
    """Writes frames as cameras and uploading programs do, a few at a time, until it is told to stop."""

    def __init__(self, folder: Path, frames: list[bytes], seed: int) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._frames = frames
        self._random = random.Random(seed)
        self._halves: list[tuple[Path, bytes]] = []
        self.go_on = threading.Semaphore(0)
        """Released once for each frame that may be written."""
        self.end = threading.Event()
        self.whole: set[str] = set()

    def run(self) -> None:
        number = 0
        while not self.end.is_set():
            if not self.go_on.acquire(timeout=0.1):
                continue
            # Bytes after the end marker make new content of the same image, so the stream never ends.
            self._write(number, self._frames[number % len(self._frames)] + b"%d" % (number // len(self._frames)))
            number += 1
        for path, data in self._halves:
            path.write_bytes(data)

    def _write(self, number: int, data: bytes) -> None:
        path = self._folder / f"IMG_{number:05}.JPG"
        self.whole.add(digest(data))
        way = self._random.randrange(6)
        if way == 0:
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(data)
            part.rename(path)
        elif way == 1:  # in pieces, with the file closed in between
            cut = self._random.randrange(1, len(data))
            path.write_bytes(data[:cut])
            with path.open("ab") as file:
                file.write(data[cut:])
        elif way == 2:  # half of the file now, the rest when the stream ends
            path.write_bytes(data[: self._random.randrange(1, len(data) - 2)])
            self._halves.append((path, data))
        elif way == 3:  # the same content under two names
            path.write_bytes(data)
            os.link(path, path.with_name(f"copy-{path.name}"))
        elif way == 4:  # a name that is used again
            path.with_name("latest.jpg").write_bytes(data)
            path.write_bytes(data)
        else:
            path.write_bytes(data)


def test_kill_9_at_random_moments(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    daemon = DaemonProcess(tmp_path, tiny_model)
    daemon.captures.mkdir()
    chance = random.Random(7)
    stream = Stream(daemon.captures, frames, 7)
    stream.start()
    pause = threading.Event()
    killed_at_work = 0
    for number in range(KILLS):
        daemon.start()
        for _ in range(8):
            stream.go_on.release()
        before = len(daemon.classified())
        if number % 5:  # most die at work, some while they start
            wait_until(lambda: len(daemon.classified()) > before, 30, "the next row")  # noqa: B023 - called at once
        pause.wait(chance.uniform(0.0, _LATEST_KILL_S))
        daemon.kill()
        killed_at_work += len(daemon.classified()) > before
    wait_until(lambda: stream.go_on._value == 0, 60, "the stream to be written")
    stream.end.set()
    stream.join()
    daemon.start()
    daemon.wait_for(stream.whole, 300)
    daemon.stop()
    assert daemon.query("PRAGMA integrity_check") == [("ok",)]
    assert daemon.query("SELECT count(*) FROM media WHERE status <> 'classified'") == [(0,)]
    report(Tally.of("kill -9", KILLS, stream.whole, daemon, f"{killed_at_work} kills at work"))
