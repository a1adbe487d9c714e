"""Which files are new and complete: a generator with a stop event."""

import heapq
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from edge.capture.files import STEP, FileState, file_state, files_below, is_temporary
from edge.capture.inotify import FolderEvents
from edge.host.mounts import Mount, MountChanges, is_silent, mounts_of, read_mounts

log = logging.getLogger(__name__)

RESCAN_S = 600.0  # heals events that nobody noticed to be lost; costs one `stat` for each file
POLL_S = 10.0
TICK_S = 0.5
GATHERING_TICK_S = 5.0
LIMIT = 50_000  # planned visits; what exceeds it is found again by a scan
_HANDED_LIMIT = 4096
_UNHURRIED = 20  # a scan's pause is at least this many times its duration


class FolderWatcher:
    """Watches a folder at any depth.

    A file is complete when its writer closed it or moved it in (the kernel says so), or when size and modification
    time have been still for `settle_s`. `unknown` tells which of some files need a visit. Whatever events may have been
    lost (full queue, watch limit, unmounted card, network folder), a scan finds the files; with `poll_s` it is made
    that often. With `gather_s` complete files wait for the next multiple of it, so that the processor sleeps between.
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
        """path -> (monotonic time of its next visit, how it looked when that was set; `None`: ready as it is)"""
        self._order: list[tuple[float, str]] = []
        self._left_out = False
        """Whether there was no room for a planned visit."""
        self._handed: OrderedDict[str, tuple[FileState, float]] = OrderedDict()
        """What was given to the caller lately and may not be logged yet."""
        self._events = FolderEvents(self._folder, self._complete, self._growing, self._find)
        self._mount_changes = MountChanges()
        self._identity: tuple[int, int] | None = None
        self._mounts: tuple[Mount, ...] = ()
        self._scan: Iterator[FileState] | None = None
        self._scan_began = self._next_scan = 0.0
        self._scan_began_ns = self._last_scan_ns = 0
        """Wall clock, as the files' own times; 0: no scan yet, or events were rightly missed."""
        self.known = 0
        """Files that the first scan found logged already."""
        self._is_first_scan = True
        self._folders = 0
        self._unwatched = False

    def schedule(self, path: str, after_s: float = 0.0, unless_changed: FileState | None = None) -> None:
        """Plan a visit; a file that no longer looks like `unless_changed` by then is given time to settle."""
        with self._changed:
            if len(self._due) >= LIMIT and path not in self._due:
                self._left_out = True
                return
            due = time.monotonic() + after_s
            self._due[path] = (due, unless_changed)
            heapq.heappush(self._order, (due, path))
            self._changed.notify()

    def rescan(self) -> None:
        """Look through the folder again, as when the database was replaced by an older one."""
        self._handed.clear()
        self._scan, self._next_scan, self._last_scan_ns = None, 0.0, 0

    @property
    def waiting(self) -> int:
        """Files that are planned for a visit."""
        return len(self._due)

    @property
    def is_there(self) -> bool:
        """Whether the folder is there now."""
        return self._identity is not None

    def frames(self, stop: threading.Event) -> Iterator[FileState | None]:
        """Complete files, each when it is ready; `None` at least every half second while none is.

        (With `gather_s` at least every five.)
        """
        try:
            next_tick = said_nothing = 0.0
            handed_out = False
            while not stop.is_set():
                if time.monotonic() >= next_tick:
                    self._look_around()
                    next_tick = time.monotonic() + self._tick_s
                scanning = self._advance_scan()
                if not scanning and not handed_out:
                    self._wait()
                ready = self._ready()
                # A scan over a million logged files takes minutes on a slow card; the caller hears from it meanwhile.
                if ready is not None or not scanning or time.monotonic() - said_nothing > TICK_S:
                    said_nothing = time.monotonic()
                    # After the last ready file the caller hears so at once: it may be holding a group back.
                    handed_out = ready is not None
                    yield ready
        finally:
            self._events.stop()
            self._mount_changes.close()

    def _look_around(self) -> None:
        """Notice that the folder or a mount came or went, and that the kernel dropped events."""
        identity = _identity(self._folder)
        if identity is None:
            if self._identity is not None or not self._next_scan:
                log.warning("waiting for %s: it is not there or cannot be looked into", self._folder)
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
            # Out and in again between two looks: the table is as before, what is watched and what is there may not be.
            self._start_events()
        elif self._events.may_have_lost_some():
            log.info("so many events came that some may be lost; looking through %s", self._folder)
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
            self._next_scan = min(self._next_scan, time.monotonic() + POLL_S)
            log.warning("%s: %s; looking through it every %.0f s", self._folder, reason, POLL_S)

    def _advance_scan(self) -> bool:
        """One step of the scan in hand, or the first of the next one when it is time; whether there was one."""
        if self._scan is None:
            if self._left_out and len(self._due) < LIMIT // 2:
                self._left_out = False
                self.rescan()
            if time.monotonic() < self._next_scan or self._identity is None:
                return False
            self._scan_began, self._scan_began_ns, self._folders = time.monotonic(), time.time_ns(), 0
            self._scan = files_below(self._folder, on_folder=self._count_folder)
        room = LIMIT - len(self._due)
        if room <= 0:
            return False
        found = list(islice(self._scan, min(STEP, room)))
        asked = [one for one in found if one.path not in self._due and not self._is_handed(one)]
        unknown = self._unknown(asked)
        if self._is_first_scan:
            self.known += len(asked) - len(unknown)
        for file in unknown:
            self._doubt_events(file)
            self._plan_by_age(file)
        if not found:
            self._end_scan()
        return True

    def _end_scan(self) -> None:
        pause_s = RESCAN_S if self._poll_s is None else self._poll_s
        self._next_scan = time.monotonic() + max(pause_s, _UNHURRIED * (time.monotonic() - self._scan_began))
        self._scan, self._last_scan_ns, self._is_first_scan = None, self._scan_began_ns, False
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

    def _doubt_events(self, found: FileState) -> None:
        """A file that came since the last scan and that no event told of: events cannot be relied on here."""
        settled_ns = time.time_ns() - int((self._settle_s + 10) * 1e9)
        if self._last_scan_ns and self._last_scan_ns < found.ctime_ns < settled_ns:
            self._poll("files appear in it without an event")

    def _is_handed(self, found: FileState) -> bool:
        seen, at = self._handed.get(found.path, (None, 0.0))
        return seen == found and time.monotonic() - at < RESCAN_S

    def _plan_by_age(self, found: FileState) -> None:
        still = time.time() - found.mtime_ns / 1e9 >= self._settle_s
        with self._changed:
            if found.path not in self._due:  # else an event came meanwhile, and knows better
                self.schedule(found.path, 0.0 if still else self._settle_s, found)

    def _wait(self) -> None:
        with self._changed:
            timeout = self._tick_s
            if self._order:
                timeout = min(timeout, self._order[0][0] - time.monotonic())
            if timeout > 0:
                self._changed.wait(timeout)

    def _ready(self) -> FileState | None:
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
            found = file_state(path)
            if found is None:
                continue
            if planned[1] is not None and found != planned[1]:
                self.schedule(path, self._settle_s, found)
                continue
            if self._unknown([found]):
                self._handed[path] = (found, time.monotonic())
                self._handed.move_to_end(path)
                if len(self._handed) > _HANDED_LIMIT:
                    self._handed.popitem(last=False)
                return found

    def _complete(self, path: str) -> None:
        """Its writer closed it or moved it in."""
        if not is_temporary(os.path.basename(path)):
            self.schedule(path, _until_gathering_s(time.monotonic(), self._gather_s))

    def _growing(self, path: str) -> None:
        """It was made: should no close ever be seen, it counts as complete once it is still."""
        if not is_temporary(os.path.basename(path)) and (found := file_state(path)) is not None:
            self.schedule(path, self._settle_s, found)

    def _find(self, folder: str) -> None:
        """A folder was moved in or made; files may have been in it before the kernel watched it."""
        for found in files_below(folder):
            self._plan_by_age(found)
            if self._left_out:
                return


def _until_gathering_s(now_s: float, gather_s: float) -> float:
    return gather_s - now_s % gather_s if gather_s else 0.0


def _identity(folder: str) -> tuple[int, int] | None:
    """Device and inode, which change when another file system is mounted there; `None` when nobody can look into it."""
    try:
        status = os.stat(folder)
        with os.scandir(folder):
            return status.st_dev, status.st_ino
    except OSError:
        return None
