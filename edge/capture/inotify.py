"""inotify events of a folder, at any depth, with what they don't tell: whether some were lost or never promised."""

import glob
import logging
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

_STORM_S = 30.0
_SHARE = 4  # at least one in so many entries of the queue is passed on; the others are writes, deletions, attributes


class FolderEvents:
    """Calls `on_complete`, `on_growing` (a file's path) and `on_folder` (a new folder's path) from a thread.

    The library hides folders that it could not watch; the kernel lists the watches of a process. Of an overflow of the
    kernel's queue it only warns in its log, since version 7, and drops what it held back; older ones hide that too, and
    then it shows by as many events at once as the queue holds.
    """

    def __init__(
        self,
        folder: str,
        on_complete: Callable[[str], None],
        on_growing: Callable[[str], None],
        on_folder: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._on_complete, self._on_growing, self._on_folder = on_complete, on_growing, on_folder
        self._observer: Any = None
        self._queue_length = _queue_length()
        self._lock = threading.Lock()
        self._storm_began, self._storm_events = 0.0, 0
        self._warned = threading.Event()

    def start(self) -> str | None:
        """Watch (anew); gives the reason when the kernel refuses."""
        from watchdog.events import (
            DirCreatedEvent,
            DirMovedEvent,
            FileClosedEvent,
            FileCreatedEvent,
            FileMovedEvent,
            FileSystemEvent,
            FileSystemEventHandler,
        )
        from watchdog.observers.inotify import InotifyObserver

        self.stop()
        _LIBRARY.tell(self._warned)
        # It watches a folder twice that is made while it looks through the one above; once is enough, and no harm done.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        take = self._take

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                take(event)

        try:
            # Full events: a file moved in from outside is said to be moved, not made. Opening and reading is not
            # asked for, because the daemon's own reads would fill the queue.
            observer = InotifyObserver(generate_full_events=True)
            wanted = [FileClosedEvent, FileMovedEvent, FileCreatedEvent, DirCreatedEvent, DirMovedEvent]
            observer.schedule(Handler(), self._folder, recursive=True, event_filter=wanted)
            observer.start()
        except OSError as error:
            return f"the kernel gives no events ({error.strerror or error})"
        self._observer = observer
        return None

    def stop(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(10.0)
        with self._lock:
            self._storm_events = 0
        self._warned.clear()

    def may_have_lost_some(self) -> bool:
        """Whether the queue may have overflowed, or the library's threads ended, since the last `start`."""
        with self._lock:
            overflowed = self._storm_events * _SHARE >= self._queue_length
        observer = self._observer
        return overflowed or self._warned.is_set() or (observer is not None and not _is_alive(observer))

    def watched_folders(self) -> int | None:
        """How many folders the kernel watches for this process; `None` when there are no events or nobody can tell."""
        if self._observer is None:
            return None
        count = 0
        for path in glob.glob("/proc/self/fdinfo/*"):
            try:
                with open(path, "rb") as lines:
                    count += sum(line.startswith(b"inotify wd:") for line in lines)
            except OSError:
                continue  # closed meanwhile
        return count or None

    def _take(self, event: Any) -> None:
        with self._lock:
            at = time.monotonic()
            if at - self._storm_began > _STORM_S and self._storm_events * _SHARE < self._queue_length:
                self._storm_began, self._storm_events = at, 0
            self._storm_events += 1
        path = os.fsdecode(event.dest_path or event.src_path)
        if event.is_directory:
            self._on_folder(path)
        elif event.event_type in ("closed", "moved"):
            if event.event_type == "closed" or event.dest_path:
                self._on_complete(path)
        else:
            self._on_growing(path)


class _Warnings(logging.Handler):
    """Tells whoever asked that the library warned of something: whatever it is, events may be missing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        logging.getLogger("watchdog.observers").addHandler(self)

    def tell(self, warned: threading.Event) -> None:
        self._told.add(warned)

    def emit(self, record: logging.LogRecord) -> None:
        for warned in tuple(self._told):
            warned.set()


_LIBRARY = _Warnings()


def _is_alive(observer: Any) -> bool:
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)


def _queue_length() -> int:
    try:
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as value:
            return int(value.read())
    except (OSError, ValueError):
        return 16384
