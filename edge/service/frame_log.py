"""Rate-limited journald log of classified frames: a line each while few come, one sum a minute under a backlog."""

import logging
import time
from collections import Counter

from edge.database.frame_result import ClassifiedFrame
from edge.host.journald import FRAME_CLASSIFIED, FRAMES_SUMMED_UP, TIMES, WINDOW_S, fields

BACKLOG = 20
"""With so many waiting files, no frame gets a line of its own."""
_NAMED = 8  # taxa that a sum names

log = logging.getLogger(__name__)


class FrameLog:
    """Logs at most `TIMES` frames and one sum a minute."""

    def __init__(self) -> None:
        self._waiting = 0
        self._sum: Counter[str] = Counter()
        self._since = time.monotonic()
        self._logged = 0

    def add(self, frame: ClassifiedFrame, line: str) -> None:
        decision = frame.conclusion.decision
        if self._waiting >= BACKLOG or self._logged >= TIMES:
            self._sum[decision.common_name] += 1
            log.debug("%s", line)
        else:
            self._logged += 1
            extra = fields(
                FRAME_CLASSIFIED,
                FRAME=frame.file.path,
                DEPLOYMENT=frame.deployment,
                KIND=decision.kind,
                TAXON=decision.taxon,
                CONFIDENCE=f"{decision.confidence:.4f}",
                REASON=decision.reason,
                DIGEST=frame.digest,
            )
            log.info("%s", line, extra=extra)

    def waiting(self, files: int) -> None:
        """Take note of the number of waiting files; log the sum when a minute is over."""
        self._waiting = files
        if time.monotonic() - self._since >= WINDOW_S:
            self.flush()

    def flush(self) -> None:
        """Log the sum of the frames that got no line."""
        if self._sum:
            names = ", ".join(f"{count} {name}" for name, count in self._sum.most_common(_NAMED))
            more = ", ..." if len(self._sum) > _NAMED else ""
            total = self._sum.total()
            extra = fields(FRAMES_SUMMED_UP, FRAMES=str(total))
            log.info("%d frames: %s%s; %d waiting", total, names, more, self._waiting, extra=extra)
        self._sum.clear()
        self._logged = 0
        self._since = time.monotonic()
