"""Folder watcher: yields each new file of a folder once it is complete, until a stop event is set."""

import heapq
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from errno import EISDIR, ENOENT
from itertools import islice
from pathlib import Path

from edge.capture.files import STEP, FileState, file_state, files_below, is_in_left_out_folder, is_left_out
from edge.capture.inotify import FolderEvents
from edge.host.mounts import Mount, MountChanges, is_silent, mounts_of, read_mounts

log = logging.getLogger(__name__)

RESCAN_S = 600.0  # finds files whose events were lost unnoticed; costs one `stat` for each file
POLL_S = 10.0
TICK_S = 0.5
GATHERING_TICK_S = 5.0
LIMIT = 50_000  # scheduled checks; files beyond it are found again by a scan
_HANDED_LIMIT = 4096
_UNREAD_LIMIT = 100
_LONGEST_NAMED = 200
"""Characters of a path that are told."""
_UNHURRIED = 20  # a scan's pause is at least this many times its duration


class FolderWatcher:
    """Watches a folder at any depth.

    A file is complete when its writer closed it or moved it in (the kernel says so), or when size and modification
    time have been still for `settle_s`. `unknown` gives those of some files that have to be processed. When events
    were lost (full queue, watch limit, unmounted card, network folder), a scan finds the files; with `poll_s` the
    folder is scanned that often. With `gather_s` complete files wait for its next multiple, so that the processor can
    sleep.
    """

    def __init__(
        self,
        folder: Path,
        unknown: Callable[[Sequence[FileState]], list[FileState]],
        settle_s: float = 2.0,
        poll_s: float | None = None,
        gather_s: float = 0.0,
    ) -> None:
        self._folder = os.path.abspath(folder)
        self._unknown = unknown
        self._settle_s = settle_s
        self._poll_s = poll_s
        self._gather_s = gather_s
        self._tick_s = min(gather_s, GATHERING_TICK_S) if gather_s else TICK_S
        self._changed = threading.Condition()
        self._due: dict[str, tuple[float, FileState | None]] = {}
        """path -> (monotonic time of its next check, its state when that was scheduled, `None` if complete)"""
        self._order: list[tuple[float, str]] = []
        self._left_out = False
        """Whether there was no room to schedule a check."""
        self._handed_out: OrderedDict[str, tuple[FileState, float]] = OrderedDict()
        """path -> (its state, monotonic time) of files that the caller got lately and may not have logged yet."""
        self._events = FolderEvents(self._folder, self._on_complete, self._on_growing, self._on_folder, self._wake)
        self._mount_changes = MountChanges()
        self._identity: tuple[int, int] | None = None
        self._mounts: tuple[Mount, ...] = ()
        self._scan: Iterator[FileState] | None = None
        self._scan_began = self._next_scan = 0.0
        self._scan_began_ns = self._last_scan_ns = 0
        """By the wall clock, like the files' own times; 0: no scan yet, or events were missed for a known reason."""
        self.known = 0
        """Number of files that the first scan found logged already."""
        self._is_first_scan = True
        self._folders = 0
        self._unwatched = False
        self._polls_because = ""
        self._unread: dict[str, str] = {}
        """Path of what the last scan could not read, and why."""
        self._unread_now: dict[str, str] = {}

    def schedule(self, path: str, after_s: float = 0.0, unless_changed: FileState | None = None) -> None:
        """Check a file after `after_s`; if it has changed from `unless_changed` by then, it gets time to settle."""
        with self._changed:
            if len(self._due) >= LIMIT and path not in self._due:
                self._left_out = True
                return
            due = time.monotonic() + after_s
            self._due[path] = (due, unless_changed)
            heapq.heappush(self._order, (due, path))
            self._changed.notify()

    def rescan(self) -> None:
        """Scan the folder again, as when the database was replaced by an older one."""
        self._handed_out.clear()
        self._scan, self._next_scan, self._last_scan_ns = None, 0.0, 0

    @property
    def waiting(self) -> int:
        """Number of files that are scheduled for a check."""
        return len(self._due)

    @property
    def is_there(self) -> bool:
        """Whether the folder is there now."""
        return self._identity is not None

    @property
    def is_listening(self) -> bool:
        """Whether a new file would be noticed: somebody reads the events, or the folder is scanned in their place."""
        return self._poll_s is not None or self._identity is None or self._events.failure is None

    @property
    def problem(self) -> str | None:
        """What keeps the watch from seeing everything as it comes, in one line."""
        words = (
            [f"{self._polls_because}; the folder is scanned every {self._poll_s:.0f} s"] if self._polls_because else []
        )
        if self._unread:
            path, why = next(iter(self._unread.items()))
            more = f" and {len(self._unread) - 1} more" if len(self._unread) > 1 else ""
            words.append(f"not read: {_shortened(path)} ({why}){more}")
        return "; ".join(words) or None

    def frames(self, stop: threading.Event) -> Iterator[FileState | None]:
        """Complete files, each when it is ready; `None` every half second (5 s with `gather_s`) while none is."""
        try:
            next_tick = last_yield = 0.0
            handed_out = False
            while not stop.is_set():
                if time.monotonic() >= next_tick or not self.is_listening:
                    self._check_folder()
                    next_tick = time.monotonic() + self._tick_s
                scanning = self._advance_scan()
                if not scanning and not handed_out:
                    self._wait()
                ready = self._next_ready()
                # A scan over a million logged files takes minutes on a slow card; the caller must not wait for it.
                if ready is not None or not scanning or time.monotonic() - last_yield > TICK_S:
                    last_yield = time.monotonic()
                    # After the last ready file a `None` follows at once: the caller may be holding a group back.
                    handed_out = ready is not None
                    yield ready
        finally:
            self._events.stop()
            self._mount_changes.close()

    def _check_folder(self) -> None:
        """React to a folder or a mount that came or went, and to events that the kernel dropped."""
        identity = _identity(self._folder)
        if identity is None:
            if self._identity is not None or not self._next_scan:
                log.warning("waiting for %s: it is not there or cannot be read", self._folder)
                self._events.stop()
                self._scan, self._next_scan = None, float("inf")
            self._identity = None
            return
        mounts = self._mounts
        remounted = self._mount_changes.any()
        if remounted or identity != self._identity:
            mounts = mounts_of(self._folder, read_mounts())
        if identity != self._identity or mounts != self._mounts:
            if self._identity is None and self._next_scan:
                log.warning("%s is back", self._folder)
            self._identity, self._mounts = identity, mounts
            silent = next((mount.file_system for mount in mounts if is_silent(mount.file_system)), None)
            if silent and self._poll_s is None:
                self._poll(f"{silent} sends no events for what others write")
            self._start_events()
        elif remounted and any(mount.point != "/" for mount in mounts):
            # Unmounted and mounted again between two checks: the table is as before, watches and files may not be.
            self._start_events()
        elif not self.is_listening:
            failure = self._events.failure
            self._events.stop()
            self._poll(f"nobody reads the kernel's events any more ({failure})")
            self.rescan()
        elif self._events.may_have_lost_some():
            log.info("so many events came that some may be lost; scanning %s", self._folder)
            self._start_events()

    def _start_events(self) -> None:
        # Watching begins before the scan, so that a file is seen by the one or the other.
        problem = self._events.start()
        if problem:
            self._poll(problem)
        self.rescan()

    def _poll(self, reason: str) -> None:
        if self._poll_s is None:
            self._poll_s = POLL_S
            self._polls_because = reason
            self._next_scan = min(self._next_scan, time.monotonic() + POLL_S)
            log.warning("%s: %s; scanning it every %.0f s", self._folder, reason, POLL_S)

    def _advance_scan(self) -> bool:
        """Take one step of the scan, and begin the next scan when it is time; gives whether there was a step."""
        if self._scan is None:
            if self._left_out and len(self._due) < LIMIT // 2:
                self._left_out = False
                self.rescan()
            if time.monotonic() < self._next_scan or self._identity is None:
                return False
            self._scan_began, self._scan_began_ns, self._folders = time.monotonic(), time.time_ns(), 0
            self._unread_now = {}
            self._scan = files_below(self._folder, self._note_unread, self._count_folder)
        room = LIMIT - len(self._due)
        if room <= 0:
            return False
        found = list(islice(self._scan, min(STEP, room)))
        asked = [one for one in found if one.path not in self._due and not self._is_handed_out(one)]
        unknown = self._unknown(asked)
        if self._is_first_scan:
            self.known += len(asked) - len(unknown)
        for file in unknown:
            self._check_events(file)
            self._schedule_by_age(file)
        if not found:
            self._end_scan()
        return True

    def _end_scan(self) -> None:
        pause_s = RESCAN_S if self._poll_s is None else self._poll_s
        self._next_scan = time.monotonic() + max(pause_s, _UNHURRIED * (time.monotonic() - self._scan_began))
        self._scan, self._last_scan_ns, self._is_first_scan = None, self._scan_began_ns, False
        self._unread = self._unread_now
        watched = self._events.watched_folders()
        if watched is None or watched >= self._folders:
            self._unwatched = False
        elif not self._unwatched:  # folders made or mounted a moment ago look the same: watch anew and count again
            self._unwatched = True
            self._start_events()
        else:
            limit = "fs.inotify.max_user_watches"
            self._poll(f"the kernel watches only {watched} of {self._folders} folders ({limit} can be raised)")

    def _count_folder(self, _folder: str) -> None:
        self._folders += 1

    def _note_unread(self, error: OSError) -> None:
        """Tell once of each folder that cannot be read; one that is gone meanwhile is none."""
        if error.errno in (ENOENT, EISDIR) or len(self._unread_now) >= _UNREAD_LIMIT:
            return
        path, why = os.fsdecode(error.filename or self._folder), error.strerror or str(error)
        if path not in self._unread and path not in self._unread_now:
            log.warning("%s: it cannot be read (%s); no frame in it is classified", ascii(_shortened(path)), why)
        self._unread_now[path] = why

    def _check_events(self, found: FileState) -> None:
        """Poll from now on if a file came since the last scan without an event: events are not reliable here."""
        settled_ns = time.time_ns() - int((self._settle_s + 10) * 1e9)
        if self._last_scan_ns and self._last_scan_ns < found.ctime_ns < settled_ns:
            self._poll("files appear in it without an event")

    def _is_handed_out(self, found: FileState) -> bool:
        seen, at = self._handed_out.get(found.path, (None, 0.0))
        return seen == found and time.monotonic() - at < RESCAN_S

    def _schedule_by_age(self, found: FileState) -> None:
        still = time.time() - found.mtime_ns / 1e9 >= self._settle_s
        with self._changed:
            if found.path not in self._due:  # else an event came meanwhile, which is more exact
                self.schedule(found.path, 0.0 if still else self._settle_s, found)

    def _wait(self) -> None:
        with self._changed:
            timeout = self._tick_s
            if self._order:
                timeout = min(timeout, self._order[0][0] - time.monotonic())
            if timeout > 0:
                self._changed.wait(timeout)

    def _next_ready(self) -> FileState | None:
        """The next file whose check is due and that has not changed since the check was scheduled."""
        while True:
            with self._changed:
                if not self._order or self._order[0][0] > time.monotonic():
                    return None
                due, path = heapq.heappop(self._order)
                scheduled = self._due.get(path)
                if scheduled is None or scheduled[0] != due:
                    continue  # replaced by a later check
                del self._due[path]
            found = file_state(path)
            if found is None:
                continue
            if scheduled[1] is not None and found != scheduled[1]:
                self.schedule(path, self._settle_s, found)
                continue
            if self._unknown([found]):
                self._handed_out[path] = (found, time.monotonic())
                self._handed_out.move_to_end(path)
                if len(self._handed_out) > _HANDED_LIMIT:
                    self._handed_out.popitem(last=False)
                return found

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _on_complete(self, path: str) -> None:
        """Handle a file that its writer closed or moved in."""
        if not is_left_out(path, self._folder):
            self.schedule(path, _until_gathering_s(time.monotonic(), self._gather_s))

    def _on_growing(self, path: str) -> None:
        """Handle a new file: should it never be seen closed, it counts as complete once it is still."""
        if not is_left_out(path, self._folder) and (found := file_state(path)) is not None:
            self.schedule(path, self._settle_s, found)

    def _on_folder(self, folder: str) -> None:
        """Handle a new folder; files may have been in it before the kernel watched it."""
        if is_in_left_out_folder(os.path.relpath(folder, self._folder)):
            return
        for found in files_below(folder):
            self._schedule_by_age(found)
            if self._left_out:
                return


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_NAMED else f"{path[:_LONGEST_NAMED]}... ({len(path)} characters)"


def _until_gathering_s(now_s: float, gather_s: float) -> float:
    return gather_s - now_s % gather_s if gather_s else 0.0


def _identity(folder: str) -> tuple[int, int] | None:
    """Device and inode, which change when another file system is mounted there; `None` when it cannot be read."""
    try:
        status = os.stat(folder)
        with os.scandir(folder):
            return status.st_dev, status.st_ino
    except OSError:
        return None
