"""What `--watch` does beside the frames: retries of incomplete files, heartbeats, model changes, status messages."""

import logging
import signal
import threading
import time

from edge.capture.watcher import FolderWatcher
from edge.database.disk_guard import DatabaseWaits
from edge.database.frame_result import FailedFile, FrameResult
from edge.database.store import Store
from edge.host.status import read_status
from edge.host.systemd_notify import ServiceManager
from edge.inference.model import STARTER, ModelError
from edge.inference.predictor import Models
from edge.service.console import Console
from edge.service.crash_guard import CrashGuard
from edge.service.frame_processor import FrameProcessor
from edge.service.incomplete_files import RetrySchedule
from edge.service.model_reload import ModelFiles, choose_models, unproven
from edge.service.model_trial import ModelTrial, Verdict
from edge.service.pipeline import Hooks, Pipeline
from edge.settings.options import Settings
from edge.settings.strict_toml import SettingsError

log = logging.getLogger(__name__)

GATHER_S = 60.0  # with --power
_IMAGE_DIGESTS_S = 0.1  # of each half second in which nothing waits


class Daemon:
    """Watches a folder until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        models: Models,
        console: Console,
        service_manager: ServiceManager,
    ) -> None:
        assert settings.watch is not None
        self._settings = settings
        self._folder = settings.watch
        self._store = store
        self._models = models
        self._console = console
        self._service_manager = service_manager
        gather_s = GATHER_S if settings.power else 0.0
        self._watcher = FolderWatcher(self._folder, store.unknown, settings.settle_s, settings.poll, gather_s)
        self._retries = RetrySchedule(settings.settle_s, settings.give_up_s)
        guard = CrashGuard(settings, store.ended_badly, store.has_crashed)
        processor = FrameProcessor(models, settings, store, guard)
        hooks = Hooks(self._logged, self._retries.pause_s, self._alive)
        self._pipeline = Pipeline(processor, store, settings, guard, hooks)
        self._model_files = ModelFiles([path for path in (settings.model or STARTER, settings.detector) if path])
        self._trial: ModelTrial | None = None
        self._reload = threading.Event()
        self._times_opened = store.times_opened
        self._next_heartbeat = 0.0
        self._image_digests_left = True

    def run(self, stop: threading.Event) -> None:
        """Classify what is in the folder and then every new frame, until `stop` is set."""
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._reload.set())
        log.info("watching %s", self._folder.absolute())
        self._service_manager.ready(f"watching {self._folder.absolute()}")
        try:
            self._pipeline.run(self._watcher.frames(stop), stop)
        finally:
            if self._trial is not None:
                self._trial.close()

    def _logged(self, result: FrameResult) -> None:
        self._console(result)
        if isinstance(result, FailedFile) and result.retry_after_s is not None:
            self._watcher.schedule(result.file.path, result.retry_after_s)

    def _alive(self, in_hand: int) -> None:
        """What the work loop does beside its work; it takes microseconds unless something is due."""
        if self._watcher.is_listening:
            self._service_manager.alive()
        waiting = self._watcher.waiting + in_hand
        self._console.waiting(waiting, self._watcher.known)
        place = "" if self._watcher.is_there else f"waiting for {self._folder}; "
        problem = "" if self._watcher.problem is None else f"; {self._watcher.problem}"
        last = f"; last seen: {self._console.last}" if self._console.last else ""
        self._service_manager.status(f"{place}{waiting} waiting, {self._console.classified} classified{last}{problem}")
        if self._store.times_opened != self._times_opened:
            self._times_opened = self._store.times_opened
            self._watcher.rescan()
        if time.monotonic() >= self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + self._settings.heartbeat_s
            self._write_heartbeat(waiting)
        elif waiting == 0 and self._image_digests_left:
            self._work_out_image_digests()
        if self._trial is not None:
            if (verdict := self._trial.verdict()) is not None:
                self._trial = None
                self._change_models(verdict)
        elif self._model_files.has_changed() or self._reload.is_set():
            self._reload.clear()
            self._model_files.accept()
            self._service_manager.reloading()
            self._trial = ModelTrial(self._settings)

    def _write_heartbeat(self, waiting: int) -> None:
        try:
            self._store.heartbeat(read_status(waiting, self._store.free_bytes(), self._watcher.problem))
        except (DatabaseWaits, OSError) as error:
            log.debug("no heartbeat: %s", error)  # frames that wait for the database say it aloud
        except Exception as error:  # rows of any kind may be in the database; the frames go on
            log.error("no heartbeat: %s: %s", type(error).__name__, error)

    def _work_out_image_digests(self) -> None:
        try:
            self._image_digests_left = self._store.work_out_image_digests(_IMAGE_DIGESTS_S)
        except DatabaseWaits as error:
            log.debug("no image digests: %s", error)

    def _change_models(self, verdict: Verdict) -> None:
        """Use the models that passed their trial; otherwise the old ones go on."""
        try:
            if verdict.problem:
                raise ModelError(verdict.problem)
            if verdict.sha256 == self._models.sha256:
                log.info("the model is the same as before")
            elif not self._model_files.are_as_accepted:
                log.info("the model was changed again during its trial; it is tried anew")
            else:
                models = choose_models(self._settings)
                self._pipeline.use(models)
                self._models = models
                log.info("model %s from now on%s", models.title, unproven(models))
        except (ModelError, SettingsError) as error:
            log.error("the new model is refused, the old one goes on: %s", error)
        self._service_manager.ready(f"watching {self._folder}")
