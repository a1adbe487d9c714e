"""Frames that come one after the other from a thread, while a test does something to the daemon."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.daemon_process import digest
from tests.support.made_images import noisy_jpeg


class FrameLoad:
    """Writes frames without an end, and counts what was written whole; what the folder refuses is written again."""

    def __init__(self, folder: Path) -> None:
        self.whole: dict[str, Path] = {}
        """Digest and path of each frame, in order."""
        self._folder = folder
        self._end = threading.Event()

    def _write(self) -> None:
        while not self._end.wait(0.02):
            with suppress(OSError):
                self.write_one()

    def write_one(self) -> None:
        """The next frame, under a name of its own. Raises `OSError`."""
        data = noisy_jpeg(len(self.whole), height=30, width=40, block_px=16)
        path = self._folder / f"{len(self.whole):05}.jpg"
        path.write_bytes(data)
        self.whole[digest(data)] = path

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this holds, frames come."""
        self._end.clear()
        thread = threading.Thread(target=self._write)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()
