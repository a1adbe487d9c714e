"""Watch, look, store: reading and decoding run ahead on threads, the network and the database follow in order."""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from edge import frame, look
from edge.clock import CaptureTime, capture_time, now, zone_named
from edge.decide import Decider
from edge.model import Model
from edge.scene import is_infrared, miniature
from edge.settings import Settings
from edge.store import Again, Failed, Result, Scored, Store
from edge.watch import Seen, see

log = logging.getLogger(__name__)

GROUP = 8  # frames logged in one transaction while there is a backlog
RETRY_DATABASE_S = 5.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A whole frame, read and decoded, not yet looked at."""

    seen: Seen
    digest: str
    view: look.View
    captured: CaptureTime
    deployment: str | None
    infrared: bool
    scene: frame.Pixels


class Pipeline:
    """Takes files in order, hands each one's logged result to `announce`."""

    def __init__(
        self, model: Model, decider: Decider, store: Store, settings: Settings, announce: Callable[[Result], None]
    ) -> None:
        self._model = model
        self._decider = decider
        self._store = store
        self._settings = settings
        self._announce = announce
        self._pulse: Callable[[int], None] = lambda in_hand: None
        self._side_px = look.decode_side_px(model)
        self._threads = settings.threads or os.cpu_count() or 1
        self._host_zone = None if settings.time_zone is None else zone_named(settings.time_zone)

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
        ahead: deque[Future[Decoded | Failed | Again]] = deque()
        depth = 2 * GROUP + self._threads
        with ThreadPoolExecutor(self._threads, "decode") as pool:
            for seen in files:
                self._pulse(len(ahead))
                if seen is not None:
                    ahead.append(pool.submit(self._read, seen))
                if seen is None or len(ahead) >= depth:
                    self._finish(ahead, 0 if seen is None else depth - GROUP, is_final)
                if stop.is_set():
                    break
            self._finish(ahead, 0, is_final)

    def _finish(self, ahead: "deque[Future[Decoded | Failed | Again]]", leave: int,
                is_final: Callable[[Failed], bool] | None) -> None:  # fmt: skip
        while len(ahead) > leave:
            group = [ahead.popleft().result() for _ in range(min(GROUP, len(ahead) - leave))]
            results = list(self._look(group))
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

    def _read(self, seen: Seen) -> Decoded | Failed | Again:
        """Read, digest and decode one file; runs on a thread, where the libraries let go of the interpreter."""
        path = Path(seen.path)
        deployment = self._settings.deployment_of(path)
        name = None if deployment is None else deployment.id
        try:
            data = path.read_bytes()
        except OSError as error:
            return Failed(seen, None, "permission" if isinstance(error, PermissionError) else "corrupt",
                          f"it cannot be read ({error.strerror})", False, name)  # fmt: skip
        digest = frame.digest(data)
        after = see(seen.path)
        if after != seen or len(data) != seen.bytes:
            return Failed(after or seen, digest, "truncated", "it changed while it was read", False, name)
        if self._store.is_logged(digest):
            return Again(seen, digest)
        try:
            picture = frame.decode(data, self._side_px, path.name)
        except frame.BadFrame as bad:
            return Failed(seen, digest, bad.reason, bad.detail, bad.reason in ("unsupported_format", "too_large"), name)
        zone = self._host_zone
        if deployment is not None and deployment.time_zone is not None:
            zone = ZoneInfo(deployment.time_zone)
        captured = capture_time(picture.exif, seen.mtime_ns / 1e9, zone, now())
        view = look.view(self._model, picture)
        return Decoded(seen, digest, view, captured, name, is_infrared(view.whole), miniature(view.whole))

    def _look(self, group: list[Decoded | Failed | Again]) -> Iterator[Result]:
        # Two copies may have been read before the first of them was logged.
        fresh: dict[str, Decoded] = {}
        for item in group:
            if isinstance(item, Decoded) and item.digest not in fresh and not self._store.is_logged(item.digest):
                fresh[item.digest] = item
        for item in group:
            if not isinstance(item, Decoded):
                yield item
            elif fresh.get(item.digest) is not item:
                yield Again(item.seen, item.digest)
            else:
                # One at a time: a batch saves the network no CPU time and costs memory (docs/results.md).
                (seen,) = look.look(self._model, [item.view], self._settings.second_look)
                decision = self._decider.decide(seen.log_probabilities, seen.familiarity)
                yield Scored(item.seen, item.digest, item.view.picture.width_px, item.view.picture.height_px,
                             item.captured, item.deployment, decision, seen.log_probabilities, seen.region,
                             item.infrared, item.scene)  # fmt: skip


def _settled(result: Result, is_final: Callable[[Failed], bool]) -> Result:
    if not isinstance(result, Failed) or result.final or not is_final(result):
        return result
    return Failed(result.seen, result.digest, result.reason, result.detail, True, result.deployment)
