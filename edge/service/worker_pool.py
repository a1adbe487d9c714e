"""Processes that examine frames, for an archive on a machine with many cores; the database stays with the parent."""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

from edge.capture.files import FileState
from edge.database.frame_result import Result
from edge.database.schema import open_database
from edge.database.store import CLASSIFIED
from edge.service.frame_processor import FrameProcessor
from edge.service.model_reload import load_models
from edge.settings import Settings

_examiner: FrameProcessor


def worker_pool(settings: Settings) -> ProcessPoolExecutor:
    """`settings.workers` processes, each with models of its own.

    Spawned, not forked: a fork copies locks that the runtime's threads may hold.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(settings.workers, context, _begin, (settings,))


def examine(seen: FileState) -> Result | None:
    """Runs in a worker."""
    return _examiner.examine(seen)


def _begin(settings: Settings) -> None:
    global _examiner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    database = open_database(settings.db, read_only=True)

    def is_logged(digest: str) -> bool:
        """As far as it is committed; what is on its way the parent notices."""
        return not settings.reclassify and database.execute(CLASSIFIED, (digest,)).fetchone() is not None

    _examiner = FrameProcessor(load_models(settings), settings, is_logged)
