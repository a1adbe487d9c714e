"""Which files are new and complete: a generator with a stop event."""

import heapq
import os
import stat as stat_module
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from errno import EISDIR
from pathlib import Path
from typing import Any

from edge.frame import IMAGE_SUFFIXES

RESCAN_S = 600.0  # heals events that the kernel lost; costs one `stat` for each file
TICK_S = 0.5
_TEMPORARY_SUFFIXES = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp")


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as `stat` saw it."""

    path: str
    """Absolute; bytes that are not UTF-8 stand as surrogates (`os.fsencode` gives them back)."""
    bytes: int
    mtime_ns: int


def is_temporary(name: str) -> bool:
    """Names that writers use while they write; the frame comes under its own name later."""
    return name.startswith(".") or name.lower().endswith(_TEMPORARY_SUFFIXES)


def files_below(root: str, on_error: Callable[[OSError], None] | None = None) -> Iterator[Seen]:
    """Every regular file at or below `root`, folder by folder in name order; links to folders are not followed."""
    try:
        with os.scandir(root) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if on_error:
            on_error(error)
        return
    for entry in listed:
        try:
            if entry.is_dir(follow_symlinks=False):
                if on_error and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
                    on_error(IsADirectoryError(EISDIR, "it is a folder, expected an image", entry.path))
                if not entry.name.startswith("."):
                    yield from files_below(entry.path, on_error)
            elif not is_temporary(entry.name) and (seen := see(entry.path)) is not None:
                yield seen
        except OSError as error:
            if on_error:
                on_error(error)


def see(path: str) -> Seen | None:
    """The file at `path` now; `None` when it is gone or no regular file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat_module.S_ISREG(status.st_mode):
        return None
    return Seen(path, status.st_size, status.st_mtime_ns)


class Watch:
    """Watches a folder at any depth.

    A file is complete when its writer closed it or moved it in (the kernel says so), or when size and modification
    time have been still for `settle_s`. `is_known` passes files that need no second visit. With `poll_s` the folder
    is also looked through that often, for file systems that send no events.
    """

    def __init__(
        self, folder: Path, is_known: Callable[[Seen], bool], settle_s: float = 2.0, poll_s: float | None = None
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._is_known = is_known
        self._settle_s = settle_s
        self._rescan_s = RESCAN_S if poll_s is None else poll_s
        self._changed = threading.Condition()
        self._due: dict[str, tuple[float, Seen | None]] = {}
        """path -> (monotonic time of its next visit, how it looked when that was set; `None`: ready as it is)"""
        self._order: list[tuple[float, str]] = []

    def visit(self, path: str, after_s: float = 0.0, unless_changed: Seen | None = None) -> None:
        """Plan a visit; a file that no longer looks like `unless_changed` by then is given time to settle."""
        with self._changed:
            due = time.monotonic() + after_s
            self._due[path] = (due, unless_changed)
            heapq.heappush(self._order, (due, path))
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Files that are planned for a visit."""
        return len(self._due)

    def frames(self, stop: threading.Event) -> Iterator[Seen | None]:
        """Complete files, each when it is ready; `None` at least every half second while none is."""
        observer = self._observe()
        try:
            next_scan = said_nothing = 0.0
            scan: Iterator[Seen] = iter(())
            handed_out = False
            while not stop.is_set():
                if time.monotonic() >= next_scan:
                    scan = files_below(self._folder)
                    next_scan = time.monotonic() + self._rescan_s
                found = next(scan, None)
                if found is not None:
                    if not self._is_known(found) and found.path not in self._due:
                        self._plan_by_age(found)
                elif not handed_out:
                    self._wait(next_scan)
                ready = self._ready()
                # A scan over a million logged files takes minutes on a slow card; the caller hears from it meanwhile.
                if ready is not None or found is None or time.monotonic() - said_nothing > TICK_S:
                    said_nothing = time.monotonic()
                    # After the last ready file the caller hears so at once: it may be holding a group back.
                    handed_out = ready is not None
                    yield ready
        finally:
            observer.stop()
            observer.join()

    def _plan_by_age(self, found: Seen) -> None:
        age_s = time.time() - found.mtime_ns / 1e9
        still = age_s - self._settle_s >= 0
        self.visit(found.path, 0.0 if still else self._settle_s, found)

    def _wait(self, next_scan: float) -> None:
        with self._changed:
            due = self._order[0][0] if self._order else next_scan
            timeout = min(TICK_S, due - time.monotonic(), next_scan - time.monotonic())
            if timeout > 0:
                self._changed.wait(timeout)

    def _ready(self) -> Seen | None:
        """The next file whose visit is due and that is still what it was when the visit was planned."""
        while True:
            with self._changed:
                if not self._order or self._order[0][0] > time.monotonic():
                    return None
                due, path = heapq.heappop(self._order)
                planned = self._due.get(path)
                if planned is None or planned[0] != due:
                    continue  # a later plan replaced this one
                del self._due[path]
            found = see(path)
            if found is None:
                continue
            if planned[1] is not None and found != planned[1]:
                self.visit(path, self._settle_s, found)
                continue
            if not self._is_known(found):
                return found

    def _observe(self) -> Any:
        from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
        from watchdog.observers import Observer

        watch = self

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.is_directory:
                    if event.event_type in ("moved", "created"):
                        watch.find(os.fsdecode(event.dest_path or event.src_path))
                elif isinstance(event, FileClosedEvent):
                    watch.complete(os.fsdecode(event.src_path))
                elif isinstance(event, FileMovedEvent):
                    watch.complete(os.fsdecode(event.dest_path))
                elif event.event_type in ("created", "modified"):
                    watch.growing(os.fsdecode(event.src_path))

        observer = Observer()
        observer.schedule(Handler(), self._folder, recursive=True)
        observer.start()
        return observer

    def complete(self, path: str) -> None:
        """Its writer closed it or moved it in."""
        if not is_temporary(os.path.basename(path)):
            self.visit(path)

    def growing(self, path: str) -> None:
        """It is being written: should no close ever be seen, it counts as complete once it is still."""
        if not is_temporary(os.path.basename(path)) and (found := see(path)) is not None:
            self.visit(path, self._settle_s, found)

    def find(self, folder: str) -> None:
        """A folder was moved in or made; files may have been in it before the kernel watched it."""
        for found in files_below(folder):
            self._plan_by_age(found)
