"""What `--watch` does beside the frames: patience with half ones, heartbeats, changing the model, telling of it."""

import logging
import signal
import threading
import time

from edge.capture.watcher import FolderWatcher
from edge.database.frame_result import FailedFile
from edge.database.store import DatabaseWaits, Store
from edge.host.status import read_status
from edge.host.systemd_notify import ServiceManager
from edge.inference.model import STARTER, ModelError
from edge.service.console import Console
from edge.service.incomplete_files import RetrySchedule
from edge.service.model_reload import TEST_FRAMES, ModelFiles, Models, check_models, choose_models
from edge.service.pipeline import Pipeline
from edge.settings import Settings, SettingsError

log = logging.getLogger(__name__)

GATHER_S = 60.0  # with --power


class Daemon:
    """Watches a folder until it is told to stop."""

    def __init__(
        self, settings: Settings, store: Store, models: Models, pipeline: Pipeline, announcer: Console,
        manager: ServiceManager,
    ) -> None:  # fmt: skip
        assert settings.watch is not None
        self._settings = settings
        self._store = store
        self._models = models
        self._pipeline = pipeline
        self._announcer = announcer
        self._manager = manager
        gather_s = GATHER_S if settings.power else 0.0
        self._watch = FolderWatcher(settings.watch, store.unknown, settings.settle_s, settings.poll, gather_s)
        self._patience = RetrySchedule(settings.settle_s, settings.give_up_s)
        self._model_files = ModelFiles([path for path in (settings.model or STARTER, settings.detector) if path])
        self._reload = threading.Event()
        self._times_opened = store.times_opened
        self._next_beat = 0.0

    def run(self, stop: threading.Event) -> None:
        assert self._settings.watch is not None
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._reload.set())
        log.info("watching %s", self._settings.watch.absolute())
        self._manager.ready(f"watching {self._settings.watch.absolute()}")
        self._pipeline.run(self._watch.frames(stop), stop, self._is_final, self._pulse)

    def _is_final(self, failure: FailedFile) -> bool:
        """A file that has stood still for `give_up_s` will not get better by waiting; until then it gets its time."""
        pause_s = self._patience.pause_s(failure)
        if pause_s is not None:
            self._watch.visit(failure.seen.path, pause_s)
        return pause_s is None

    def _pulse(self, in_hand: int) -> None:
        """What the work loop does beside its work; it takes microseconds unless something is due."""
        self._manager.alive()
        waiting = self._watch.waiting + in_hand
        self._announcer.waiting(waiting)
        place = "" if self._watch.is_there else f"waiting for {self._settings.watch}; "
        seen = f"; last seen: {self._announcer.last}" if self._announcer.last else ""
        self._manager.status(f"{place}{waiting} waiting, {self._announcer.classified} classified{seen}")
        if self._store.times_opened != self._times_opened:
            self._times_opened = self._store.times_opened
            self._watch.rescan()
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + self._settings.heartbeat_s
            self._beat(waiting)
        if self._model_files.has_changed() or self._reload.is_set():
            self._reload.clear()
            self._model_files.look_again()
            self._change_models()

    def _beat(self, waiting: int) -> None:
        try:
            self._store.beat(read_status(waiting, self._store.free_bytes()))
        except (DatabaseWaits, OSError) as error:
            log.debug("no heartbeat: %s", error)  # frames that wait for the database say it aloud

    def _change_models(self) -> None:
        """Load the models that are there now; when one doesn't prove itself, the old ones go on."""
        self._manager.reloading()
        try:
            models = choose_models(self._settings)
            if models.sha256 == self._models.sha256:
                log.info("the model is the same as before")
            else:
                check_models(models, self._store.newest_frames(TEST_FRAMES))
                self._pipeline.use(models)
                self._models = models
                log.info("model %s %s from now on", models.name, models.card.version)
        except (ModelError, SettingsError) as error:
            log.error("the new model is refused, the old one goes on: %s", error)
        self._manager.ready(f"watching {self._settings.watch}")
