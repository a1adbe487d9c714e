"""Files to logged results: files are processed side by side and logged in order, in groups.

Each thread takes a frame from its bytes through the network, so that predictions queue up and pixels don't: memory
stays small. Decisions and logging follow for a group at a time.

Whatever goes wrong with one file, at any step, is logged as that file's own failure. Only the database's troubles stop
the work, and those wait.
"""

import faulthandler
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, Self

from edge.capture.files import FileState
from edge.database.disk_guard import DatabaseOpenedAnew, DatabaseWaits
from edge.database.frame_result import ClassifiedFrame, FailedFile, FrameResult, unforeseen
from edge.host.cores import cores
from edge.inference.predictor import Models
from edge.service.crash_guard import CrashGuard
from edge.settings.options import Settings

log = logging.getLogger(__name__)

GROUP = 8  # frames logged in one transaction while there is a backlog
POWER_GROUP = 32  # the same where power counts more than what a power cut makes us classify again
RETRY_FIRST_S, RETRY_AT_MOST_S = 0.2, 5.0
HANG_S = 300  # a decoder or a network that takes so long never comes back
_TICK_S = 0.5
_ONE_FILES_ERROR = (Exception, SystemExit)
"""What no library should raise over a file, and one does now and then. Ctrl-C is meant for the whole run."""

InHand = tuple[FileState, "Future[FrameResult | None]"]


class Processor(Protocol):
    """What the pipeline needs of a frame processor."""

    @property
    def models_sha256(self) -> str:
        """SHA-256 of the models that it decides by."""

    def process(self, file: FileState) -> FrameResult | None:
        """One file from its bytes to its result; `None` for a file that is gone."""

    def again_after_others(self, frame: ClassifiedFrame, decided: set[str]) -> FrameResult:
        """The frame, or a duplicate where the same content was logged meanwhile."""

    def with_models(self, models: Models) -> Self:
        """The same with other models."""


class ResultLog(Protocol):
    """What the pipeline needs of the database."""

    def record(self, results: Sequence[FrameResult], more_follow: bool = False) -> Sequence[FrameResult]:
        """Log a group in one transaction; gives it as it was logged.

        Raises `DatabaseWaits`; whatever else it raises is the fault of a result.
        """

    def begin_run(self, models: Models) -> None:
        """Decisions come from `models` from now on. Raises `DatabaseWaits`."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a command does beside the frames."""

    announce: Callable[[FrameResult], None]
    """Called for each result once it is logged."""
    retry_after_s: Callable[[FailedFile], float | None] = lambda failed: None
    """When an incomplete file is tried again; `None` makes the failure final."""
    alive: Callable[[int], None] = lambda in_hand: None
    """Called by the work loop itself, with the number of files in hand: when a frame hangs, the calls end."""


class _Stopped(Exception):
    """The command was told to stop while the database could not be written."""


class Pipeline:
    """Takes files in order, processes them side by side and logs their results in order."""

    def __init__(
        self, processor: Processor, store: ResultLog, settings: Settings, guard: CrashGuard, hooks: Hooks
    ) -> None:
        self._processor = processor
        self._store = store
        self._settings = settings
        self._guard = guard
        self._hooks = hooks
        self._next_models: Models | None = None
        self._workers = settings.workers
        self._group = POWER_GROUP if settings.power else GROUP
        self._ahead: deque[InHand] = deque()
        self._rearm_at = 0.0

    def run(self, files: Iterable[FileState | None], stop: threading.Event) -> None:
        """Classify and log `files` until they end or `stop` is set; what was read by then is still logged.

        A `None` among the files says that nothing is ready now.
        """
        depth = 2 * self._group + (self._settings.workers or self._threads)
        pool = self._pool()
        try:
            for file in files:
                self._say_alive()
                if file is not None:
                    self._ahead.append((file, pool.submit(self._process, file)))
                if file is None or len(self._ahead) >= depth or self._next_models:
                    full = file is not None and not self._next_models
                    pool = self._finish(pool, depth - self._group if full else 0, stop)
                if self._next_models:
                    pool = self._change_models(self._next_models, pool)
                if stop.is_set():
                    break
            pool = self._finish(pool, 0, stop)
        finally:
            pool.shutdown(cancel_futures=True)
            faulthandler.cancel_dump_traceback_later()
            self._guard.close()

    def use(self, models: Models) -> None:
        """Decide by other models as soon as what is in hand is logged."""
        self._next_models = models

    def _finish(self, pool: Executor, leave: int, stop: threading.Event) -> Executor:
        """Log what is in hand but for the last `leave` files; gives the pool to go on with."""
        while len(self._ahead) > leave:
            group: list[tuple[FileState, FrameResult]] = []
            paths: set[str] = set()
            for _ in range(min(self._group, len(self._ahead) - leave)):
                # What was at a path is logged before what is there now: one may be the other, grown.
                if (file := self._ahead[0][0]).path in paths:
                    break
                paths.add(file.path)
                try:
                    result = self._wait_for(*self._ahead[0])
                except BrokenExecutor:
                    pool = self._go_on_without_workers(pool)
                    result = self._wait_for(*self._ahead[0])
                self._ahead.popleft()
                if result is not None:
                    group.append((file, result))
            try:
                for result in self._record(list(self._settled(group)), stop):
                    self._announce(result)
            except _Stopped:
                self._ahead.clear()  # still on the disk, and not in the database: the next start finds them
                break
            self._say_alive()
        return pool

    def _wait_for(self, file: FileState, future: "Future[FrameResult | None]") -> FrameResult | None:
        """The file's result; `None` for a file that is gone. Raises `BrokenExecutor` when a worker process crashed."""
        while True:
            try:
                error = future.exception(_TICK_S)
                break
            except TimeoutError:
                if self._guard.is_busy:
                    self._say_alive()  # a frame on trial may hang; that ends by itself
        if error is None:
            return future.result()
        if self._workers and isinstance(error, BrokenExecutor):
            raise error
        return unforeseen(file, error)

    def _settled(self, group: list[tuple[FileState, FrameResult]]) -> Iterator[FrameResult]:
        """The results as they are logged: copies within the group are duplicates, and failures are final or wait."""
        decided: set[str] = set()
        for file, result in group:
            try:
                if isinstance(result, ClassifiedFrame):
                    result = self._processor.again_after_others(result, decided)
                if isinstance(result, ClassifiedFrame):
                    result.conclusion  # noqa: B018 - worked out here, for a group of frames in a row
                    decided.add(result.digest)
            except _ONE_FILES_ERROR as error:
                result = unforeseen(file, error)
            yield self._final_or_waits(result)

    def _final_or_waits(self, result: FrameResult) -> FrameResult:
        if not isinstance(result, FailedFile) or result.final:
            return result
        wait_s = self._hooks.retry_after_s(result)
        return replace(result, final=wait_s is None, retry_after_s=wait_s)

    def _record(self, results: list[FrameResult], stop: threading.Event) -> Iterator[FrameResult]:
        """Log a group; gives the results as they were logged. A result that cannot be logged takes no other with it.

        Raises `_Stopped`.
        """
        try:
            yield from self._record_or_wait(results, stop)
        except _Stopped:
            raise
        except _ONE_FILES_ERROR as error:
            if len(results) > 1:
                for result in results:
                    yield from self._record([result], stop)
                return
            failed = unforeseen(results[0].file, error)
            try:
                yield from self._record_or_wait([self._final_or_waits(failed)], stop)
            except _Stopped:
                raise
            except _ONE_FILES_ERROR:
                yield replace(failed, detail=f"{failed.detail}; it is not in the database, the next start tries again")

    def _record_or_wait(self, results: list[FrameResult], stop: threading.Event) -> Sequence[FrameResult]:
        """Log; while the database cannot be written (disk full, read-only) say so once and wait: frames stay here.

        Gives the results as they were logged. Raises `_Stopped`.
        """
        complained, pause_s = "", RETRY_FIRST_S
        while results:
            try:
                logged = self._store.record(results, more_follow=bool(self._ahead))
            except DatabaseOpenedAnew:
                continue
            except DatabaseWaits as reason:
                if str(reason) != complained:
                    log.error("database: %s; frames wait, trying again every %.0f s", reason, RETRY_AT_MOST_S)
                    complained = str(reason)
                self._say_alive()  # waiting is no hang
                if stop.wait(pause_s):
                    raise _Stopped from reason
                pause_s = min(2 * pause_s, RETRY_AT_MOST_S)
            else:
                if complained:
                    log.warning("database: writing again")
                return logged
        return []

    def _announce(self, result: FrameResult) -> None:
        try:
            self._hooks.announce(result)
        except _ONE_FILES_ERROR as error:
            detail = unforeseen(result.file, error).detail
            log.error("%s: it is logged, and could not be announced (%s)", ascii(result.file.path), detail)

    def _change_models(self, models: Models, pool: Executor) -> Executor:
        """Decide by other models; worker processes have their own, so they are replaced by new ones."""
        try:
            self._store.begin_run(models)
        except DatabaseWaits as reason:
            log.debug("the new model waits: %s", reason)
        else:
            self._processor = self._processor.with_models(models)
            self._next_models = None
            if self._workers:
                pool.shutdown()
                return self._pool()
        return pool

    def _say_alive(self) -> None:
        at = time.monotonic()
        if at >= self._rearm_at:
            # A frame that hangs ends the process, from a thread that needs no interpreter; whoever started it starts it
            # again, and then the frame goes on trial.
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            self._rearm_at = at + HANG_S / 10
        self._hooks.alive(len(self._ahead))

    @property
    def _threads(self) -> int:
        return self._settings.threads or (1 if self._settings.power else cores())

    def _process_on_thread(self, file: FileState) -> FrameResult | None:
        return self._processor.process(file)

    @property
    def _process(self) -> Callable[[FileState], FrameResult | None]:
        if self._workers:
            from edge.service import worker_pool

            return worker_pool.process
        return self._process_on_thread

    def _pool(self) -> Executor:
        """Threads, or processes where the interpreter itself becomes the bottleneck."""
        if self._workers:
            from edge.service import worker_pool

            return worker_pool.worker_pool(self._settings, self._processor.models_sha256)
        return ThreadPoolExecutor(self._threads, "frames")

    def _go_on_without_workers(self, broken: Executor) -> Executor:
        log.error("a worker process crashed; the frames in hand are tried one by one")
        broken.shutdown(wait=False, cancel_futures=True)
        self._workers = 0
        self._guard.suspect()
        pool = self._pool()
        again = [(file, pool.submit(self._process, file)) for file, _ in self._ahead]
        self._ahead.clear()
        self._ahead.extend(again)
        return pool
