"""Watch, examine, store: frames are examined side by side and logged in order.

Each thread takes a frame from its bytes through the network, so that looks queue and pictures don't: memory stays
small. What is said of the frames and their logging follow for a group at a time.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import replace

from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, Duplicate, FailedFile, Result
from edge.database.store import DatabaseWaits, Store
from edge.service.crash_guard import CrashGuard
from edge.service.frame_processor import FrameProcessor, Looked
from edge.service.model_reload import Models
from edge.settings import Settings

log = logging.getLogger(__name__)

GROUP = 8  # frames logged in one transaction while there is a backlog
POWER_GROUP = 32  # the same where power counts more than what a power cut makes us look at again
RETRY_FIRST_S, RETRY_AT_MOST_S = 0.2, 5.0
HANG_S = 300  # a decoder or a network that takes so long never comes back
_TICK_S = 0.5

Examined = Looked | Result
"""Of worker processes the result, of threads a look that waits for others."""
InHand = tuple[FileState, "Future[Examined | None]"]


class Pipeline:
    """Takes files in order, hands each one's logged result to `announce`."""

    def __init__(
        self,
        examiner: FrameProcessor,
        store: Store,
        settings: Settings,
        announce: Callable[[Result], None],
        suspicion: CrashGuard,
    ) -> None:
        self._examiner = examiner
        self._store = store
        self._settings = settings
        self._announce = announce
        self._suspicion = suspicion
        self._told: Callable[[int], None] = lambda in_hand: None
        self._next_models: Models | None = None
        self._workers = settings.workers
        self._group = POWER_GROUP if settings.power else GROUP
        self._ahead: deque[InHand] = deque()
        self._rearm_at = 0.0

    def run(
        self,
        files: Iterable[FileState | None],
        stop: threading.Event,
        is_final: Callable[[FailedFile], bool],
        pulse: Callable[[int], None] | None = None,
    ) -> None:
        """Classify and log `files` until they end or `stop` is set; what was read by then is still logged.

        A `None` among the files says that nothing is ready now. `is_final` tells whether a failure is the last word.
        `pulse` is called by the work loop itself, with the files in hand: when a frame hangs, the calls end.
        """
        self._told = pulse or self._told
        depth = 2 * self._group + (self._settings.workers or self._threads)
        pool = self._pool()
        try:
            for seen in files:
                self._pulse()
                if seen is not None:
                    self._ahead.append((seen, pool.submit(self._begin, seen)))
                if seen is None or len(self._ahead) >= depth or self._next_models:
                    full = seen is not None and not self._next_models
                    pool = self._finish(pool, depth - self._group if full else 0, is_final, stop)
                if self._next_models:
                    self._change_models(self._next_models)
                if stop.is_set():
                    break
            pool = self._finish(pool, 0, is_final, stop)
        finally:
            pool.shutdown(cancel_futures=True)
            faulthandler.cancel_dump_traceback_later()
            self._suspicion.close()

    def use(self, models: Models) -> None:
        """Answer with other models as soon as what is in hand is logged."""
        self._next_models = models

    def _finish(
        self, pool: Executor, leave: int, is_final: Callable[[FailedFile], bool], stop: threading.Event
    ) -> Executor:
        """Log what is in hand but for the last `leave` files; gives the pool to go on with."""
        while len(self._ahead) > leave:
            group: list[Examined | None] = []
            paths: set[str] = set()
            for _ in range(min(self._group, len(self._ahead) - leave)):
                # What was at a path is logged before what is there now: one may be the other, grown.
                if self._ahead[0][0].path in paths:
                    break
                paths.add(self._ahead[0][0].path)
                try:
                    group.append(self._wait_for(self._ahead[0][1]))
                except BrokenExecutor:
                    pool = self._go_on_without_workers(pool)
                    group.append(self._wait_for(self._ahead[0][1]))
                self._ahead.popleft()
            results = [_settled(result, is_final) for result in self._answers(group)]
            if not self._record(results, stop):
                self._ahead.clear()  # still on the disk, and not in the database: the next start finds them
                break
            for result in results:
                self._announce(result)
            self._pulse()
        return pool

    def _wait_for(self, future: "Future[Examined | None]") -> Examined | None:
        while True:
            try:
                return future.result(_TICK_S)
            except TimeoutError:
                if self._suspicion.is_busy:
                    self._pulse()  # a frame on trial may hang; that ends by itself

    def _record(self, results: list[Result], stop: threading.Event) -> bool:
        """Log; while the database cannot be written (disk full, read-only) say so once and wait: frames stay here.

        Gives False when `stop` was set before they were logged.
        """
        complained, pause_s = "", RETRY_FIRST_S
        while results:
            try:
                self._store.record(results, more_follow=bool(self._ahead))
            except DatabaseWaits as reason:
                if str(reason) != complained:
                    log.error("database: %s; frames wait, trying again every %.0f s", reason, RETRY_AT_MOST_S)
                    complained = str(reason)
                self._pulse()  # waiting is no hang
                if stop.wait(pause_s):
                    return False
                pause_s = min(2 * pause_s, RETRY_AT_MOST_S)
            else:
                if complained:
                    log.warning("database: writing again")
                return True
        return True

    def _change_models(self, models: Models) -> None:
        try:
            self._store.begin_run(models)
        except DatabaseWaits as reason:
            log.debug("the new model waits: %s", reason)
        else:
            self._examiner = self._examiner.with_models(models)
            self._next_models = None

    def _pulse(self) -> None:
        at = time.monotonic()
        if at >= self._rearm_at:
            # A frame that hangs ends the process, from a thread that needs no interpreter; whoever started it starts it
            # again, and then the frame goes on trial.
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            self._rearm_at = at + HANG_S / 10
        self._told(len(self._ahead))

    @property
    def _threads(self) -> int:
        return self._settings.threads or (1 if self._settings.power else _cores())

    def _begin_on_thread(self, seen: FileState) -> Examined | None:
        return self._examiner.look(seen)

    @property
    def _begin(self) -> Callable[[FileState], Examined | None]:
        if self._workers:
            from edge.service import worker_pool as workers

            return workers.examine
        return self._begin_on_thread

    def _pool(self) -> Executor:
        """Threads, or processes where the interpreter itself becomes the narrow place."""
        if self._workers:
            from edge.service import worker_pool as workers

            return workers.worker_pool(self._settings)
        return ThreadPoolExecutor(self._threads, "examine")

    def _go_on_without_workers(self, broken: Executor) -> Executor:
        log.error("a worker process crashed; the frames in hand are tried one by one")
        broken.shutdown(wait=False, cancel_futures=True)
        self._workers = 0
        self._suspicion.awake()
        pool = self._pool()
        again = [(seen, pool.submit(self._begin, seen)) for seen, _ in self._ahead]
        self._ahead.clear()
        self._ahead.extend(again)
        return pool

    def _answers(self, group: list[Examined | None]) -> Iterator[Result]:
        answered: set[str] = set()
        for item in group:
            if item is None:
                continue  # the file is gone
            if isinstance(item, Looked | ClassifiedFrame):
                # Two copies may have been in hand before the first of them was logged.
                if item.digest in answered or self._store.is_logged(item.digest):
                    yield Duplicate(item.seen, item.digest)
                    continue
                if (same := self._examiner.grown(item)) is not None:
                    yield same
                    continue
                answered.add(item.digest)
            yield self._examiner.conclude(item) if isinstance(item, Looked) else item


def _settled(result: Result, is_final: Callable[[FailedFile], bool]) -> Result:
    if not isinstance(result, FailedFile) or result.final or not is_final(result):
        return result
    return replace(result, final=True)


def _cores() -> int:
    """How many there are for this process: a unit or a container may have been given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
