"""Watch, examine, store: frames are examined side by side, and logged in order."""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from edge.examine import Examiner
from edge.files import Seen
from edge.result import Again, Failed, Result, Scored
from edge.settings import Settings
from edge.store import Store

log = logging.getLogger(__name__)

GROUP = 8  # frames logged in one transaction while there is a backlog
RETRY_DATABASE_S = 5.0


class Pipeline:
    """Takes files in order, hands each one's logged result to `announce`."""

    def __init__(
        self, examiner: Examiner, store: Store, settings: Settings, announce: Callable[[Result], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._announce = announce
        self._pulse: Callable[[int], None] = lambda in_hand: None
        self._examine: Callable[[Seen], Result] = examiner.examine
        self._threads = settings.workers or settings.threads or os.cpu_count() or 1

    def run(
        self,
        files: Iterable[Seen | None],
        stop: threading.Event,
        is_final: Callable[[Failed], bool] | None = None,
        pulse: Callable[[int], None] | None = None,
    ) -> None:
        """Classify and log `files` until they end or `stop` is set; what was read by then is still logged.

        A `None` among the files says that nothing is ready now. `is_final` tells whether a failure is the last word.
        `pulse` is called by the work loop itself, with the files in hand: when a frame hangs, the calls end.
        """
        self._pulse = pulse or self._pulse
        ahead: deque[Future[Result]] = deque()
        depth = 2 * GROUP + self._threads
        with self._pool() as pool:
            for seen in files:
                self._pulse(len(ahead))
                if seen is not None:
                    ahead.append(pool.submit(self._examine, seen))
                if seen is None or len(ahead) >= depth:
                    self._finish(ahead, 0 if seen is None else depth - GROUP, is_final)
                if stop.is_set():
                    break
            self._finish(ahead, 0, is_final)

    def _finish(self, ahead: "deque[Future[Result]]", leave: int,
                is_final: Callable[[Failed], bool] | None) -> None:  # fmt: skip
        while len(ahead) > leave:
            group = [ahead.popleft().result() for _ in range(min(GROUP, len(ahead) - leave))]
            results = list(self._answers(group))
            if is_final is not None:
                results = [_settled(result, is_final) for result in results]
            self._record(results)
            for result in results:
                self._announce(result)
            self._pulse(len(ahead))

    def _record(self, results: list[Result]) -> None:
        """Log; while the database cannot be written (disk full, read-only) say so once and wait: frames stay here."""
        complained = False
        while True:
            try:
                self._store.record(results)
            except sqlite3.OperationalError as error:
                if not complained:
                    log.error("database: %s; frames wait, trying again every %.0f s", error, RETRY_DATABASE_S)
                    complained = True
                self._pulse(len(results))  # waiting is no hang
                threading.Event().wait(RETRY_DATABASE_S)
            else:
                if complained:
                    log.warning("database: writing again")
                return

    def _pool(self) -> Executor:
        """Threads, or processes where Python itself becomes the narrow place."""
        if self._settings.workers:
            from edge import workers

            self._examine = workers.examine
            return workers.worker_pool(self._settings)
        return ThreadPoolExecutor(self._threads, "examine")

    def _answers(self, group: list[Result]) -> Iterator[Result]:
        answered: set[str] = set()
        for item in group:
            # Two copies may have been in hand before the first of them was logged.
            if isinstance(item, Scored) and (item.digest in answered or self._store.is_logged(item.digest)):
                yield Again(item.seen, item.digest)
                continue
            if isinstance(item, Scored):
                answered.add(item.digest)
            yield item


def _settled(result: Result, is_final: Callable[[Failed], bool]) -> Result:
    if not isinstance(result, Failed) or result.final or not is_final(result):
        return result
    return Failed(result.seen, result.digest, result.reason, result.detail, True, result.deployment)
