"""inotify events of a folder at any depth, and whether some of them may have been lost."""

import glob
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_LIBRARY_LOG = "watchdog.observers"
_STORM_S = 30.0
_SHARE = 4  # at least one in so many entries of the queue is an event for us; the others are writes, deletions, ...


class FolderEvents:
    """Calls `on_complete`, `on_growing` (a file's path) and `on_folder` (a new folder's path) from a thread.

    The library's threads can end by an error (a folder nested deeper than Python calls, an error of ours): `on_death`
    is called at once, from the thread that ends, and `failure` says why. After that nobody listens.
    The library (watchdog) does not report folders that it could not watch; the kernel's list of watches shows them.
    When the kernel's queue overflows, the library only logs a warning, since version 7; older versions don't, and then
    the overflow shows by as many events at once as the queue holds.
    """

    def __init__(
        self,
        folder: str,
        on_complete: Callable[[str], None],
        on_growing: Callable[[str], None],
        on_folder: Callable[[str], None],
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._on_complete, self._on_growing, self._on_folder = on_complete, on_growing, on_folder
        self._on_death = on_death
        self._threads: list[threading.Thread] = []
        self._error = ""
        self._previous_hook: Callable[[threading.ExceptHookArgs], object] | None = None
        self._observer: Any = None
        self._queue_length = _queue_length()
        self._lock = threading.Lock()
        self._storm_began, self._storm_events = 0.0, 0
        self._warned = threading.Event()
        self._warning_handler = _WarningHandler(self._warned)

    def start(self) -> str | None:
        """Start watching, again if need be; gives the reason when the kernel refuses."""
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
        from watchdog.utils import BaseThread

        self.stop()
        before = set(threading.enumerate())
        self._previous_hook, threading.excepthook = threading.excepthook, self._thread_died
        logging.getLogger(_LIBRARY_LOG).addHandler(self._warning_handler)
        # The library watches a folder twice that is made while it scans the one above; its warning means no harm.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        on_event = self._on_event

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                on_event(event)

        observer = None
        try:
            # Full events: a file that is moved in from outside is reported as moved, not as made. Opening and reading
            # are left out, because the daemon's own reads would fill the queue.
            observer = InotifyObserver(generate_full_events=True)
            wanted = [FileClosedEvent, FileMovedEvent, FileCreatedEvent, DirCreatedEvent, DirMovedEvent]
            observer.schedule(Handler(), self._folder, recursive=True, event_filter=wanted)
            observer.start()
        except Exception as error:  # the library may stumble over anything that a folder holds
            _end(observer)
            if isinstance(error, OSError):
                return f"the kernel gives no events ({error.strerror or error})"
            return f"its events cannot be read ({_in_words(error)})"
        self._observer = observer
        self._threads = [one for one in threading.enumerate() if isinstance(one, BaseThread) and one not in before]
        return None

    def stop(self) -> None:
        """Stop watching; gives back the kernel's watches and the library's threads."""
        logging.getLogger(_LIBRARY_LOG).removeHandler(self._warning_handler)
        observer, self._observer = self._observer, None
        _end(observer)
        self._threads, self._error = [], ""
        if self._previous_hook is not None:
            threading.excepthook, self._previous_hook = self._previous_hook, None
        with self._lock:
            self._storm_events = 0
        self._warned.clear()

    def may_have_lost_some(self) -> bool:
        """Whether the queue may have overflowed since the last `start`."""
        with self._lock:
            overflowed = self._storm_events * _SHARE >= self._queue_length
        return overflowed or self._warned.is_set()

    @property
    def failure(self) -> str | None:
        """Why nobody reads the events, in words; `None` while somebody does."""
        if self._error or self._observer is None:
            return self._error or "they are not read"
        ended = next((thread.name for thread in self._threads if not thread.is_alive()), None)
        return None if ended is None else f"the thread {ended} ended"

    def _thread_died(self, died: threading.ExceptHookArgs) -> None:
        """Hear of a thread that ended by an error, which Python would only print."""
        if type(died.thread).__module__.startswith("watchdog") and died.exc_value is not None:
            log.debug("a thread of the library ended", exc_info=died.exc_value)
            self._error = _in_words(died.exc_value)
            self._on_death()
        elif self._previous_hook is not None:
            self._previous_hook(died)

    def watched_folders(self) -> int | None:
        """Number of folders that the kernel watches for this process; `None` without events or where it is unknown."""
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

    def _on_event(self, event: Any) -> None:
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


class _WarningHandler(logging.Handler):
    """Sets a flag when the library warns: whatever it warns of, events may be missing."""

    def __init__(self, warned: threading.Event) -> None:
        super().__init__(logging.WARNING)
        self._warned = warned

    def emit(self, record: logging.LogRecord) -> None:
        self._warned.set()


def _end(observer: Any) -> None:
    if observer is not None and observer.ident is not None:
        observer.stop()
        observer.join(10.0)


def _in_words(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "its folders are nested too deep for the library that reads them"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _queue_length() -> int:
    try:
        with open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as value:
            return int(value.read())
    except (OSError, ValueError):
        return 16384
