"""Retry schedule for incomplete files."""

import time
from collections import OrderedDict

from edge.capture.files import FileState
from edge.database.frame_result import FailedFile

_LIMIT = 10_000  # files that wait at the same time; beyond it, the one that waited longest begins anew


class RetrySchedule:
    """Decides when an incomplete file is tried again, with growing pauses, and when it is given up.

    A file's age counts from its last change of any kind as the file system knows it, or from the first failure as this
    process knows it, so that neither a copied old time stamp nor a clock that was set wrong gives a file up early or
    keeps it for ever.
    """

    def __init__(self, settle_s: float, give_up_s: float) -> None:
        self._settle_s = settle_s
        self._give_up_s = give_up_s
        self._waiting: OrderedDict[str, tuple[FileState, float, int]] = OrderedDict()
        """path -> (the file as it is, monotonic time of its first failure like this, tries)"""

    def pause_s(self, failure: FailedFile) -> float | None:
        """Seconds until the next try; `None` when the file is given up."""
        file, at = failure.file, time.monotonic()
        known, since, tries = self._waiting.pop(file.path, (file, at, 0))
        if known != file:
            since, tries = at, 0
        age_s = time.time() - max(file.mtime_ns, file.ctime_ns) / 1e9
        if max(age_s, at - since) >= self._give_up_s:
            return None
        self._waiting[file.path] = (file, since, tries + 1)
        if len(self._waiting) > _LIMIT:
            self._waiting.popitem(last=False)
        left_s = self._give_up_s - max(age_s, at - since, 0.0)
        return min(self._settle_s * 2.0**tries, self._give_up_s / 4, max(left_s, 0.1))
