"""Worker processes for an archive on a machine with many cores; the database stays with the parent."""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, FrameResult, unforeseen
from edge.database.known_files import CLASSIFIED, OTHER_WITH_IMAGE, Asked
from edge.database.schema import open_database
from edge.inference.model import ModelError
from edge.service.frame_processor import FrameProcessor
from edge.service.model_reload import load_models
from edge.settings.options import Settings

_processor: FrameProcessor


def worker_pool(settings: Settings, models_sha256: str) -> ProcessPoolExecutor:
    """`settings.workers` processes, each with models of its own, which must be those of the parent.

    Spawned, not forked: a fork copies locks that the runtime's threads may hold.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(settings.workers, context, _begin, (settings, models_sha256))


def process(file: FileState) -> FrameResult | None:
    """Process one file in a worker; its conclusion is worked out there too."""
    try:
        result = _processor.process(file)
        if isinstance(result, ClassifiedFrame):
            result.conclusion  # noqa: B018 - worked out here, before the result is sent to the parent
    except BaseException as error:  # many cannot be sent to the parent, and would end the pool there
        return unforeseen(file, error)
    return result


class _Committed:
    """What the database knows, as far as it is committed; what is on its way the parent notices."""

    def __init__(self, database: Asked, reclassify: bool) -> None:
        self._database = database
        self._reclassify = reclassify

    def is_logged(self, digest: str) -> bool:
        return not self._reclassify and self._database.row(CLASSIFIED, digest) is not None

    def has_image(self, image_digest: str, digest: str) -> bool:
        return image_digest != "" and self._database.row(OTHER_WITH_IMAGE, image_digest, digest) is not None

    def logged_at(self, path: str) -> tuple[int, str] | None:
        return None


def _begin(settings: Settings, models_sha256: str) -> None:
    global _processor
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    known = _Committed(Asked(open_database(settings.db, read_only=True), settings.db), settings.reclassify)
    models = load_models(settings)
    if models.sha256 != models_sha256:  # the parent's run would be given another model's answers
        raise ModelError(f"{models.classifier.path}: it was changed since it was loaded")
    _processor = FrameProcessor(models, settings, known)
