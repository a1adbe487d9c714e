"""What the journal hears of classified frames: each one while few come, one line a minute while many wait."""

import logging
import time
from collections import Counter

from edge.database.frame_result import ClassifiedFrame
from edge.host.journald import FRAME_CLASSIFIED, FRAMES_SUMMED_UP, TIMES, WINDOW_S, fields

BACKLOG = 20
"""From so many waiting files on, no frame gets a line of its own."""
_NAMED = 8

log = logging.getLogger(__name__)


class FrameLog:
    """Says at most `TIMES` frames and one sum a minute."""

    def __init__(self) -> None:
        self._waiting = 0
        self._sum: Counter[str] = Counter()
        self._since = time.monotonic()
        self._said = 0

    def add(self, scored: ClassifiedFrame, line: str) -> None:
        decision = scored.conclusion.decision
        if self._waiting >= BACKLOG or self._said >= TIMES:
            self._sum[decision.common_name] += 1
            log.debug("%s", line)
        else:
            self._said += 1
            log.info("%s", line, extra=fields(
                FRAME_CLASSIFIED, FRAME=scored.file.path, DEPLOYMENT=scored.deployment, KIND=decision.kind,
                TAXON=decision.taxon, CONFIDENCE=f"{decision.confidence:.4f}", REASON=decision.reason,
                DIGEST=scored.digest,
            ))  # fmt: skip

    def waiting(self, files: int) -> None:
        """So many files wait: the moment to say what is due."""
        self._waiting = files
        if time.monotonic() - self._since >= WINDOW_S:
            self.flush()

    def flush(self) -> None:
        if self._sum:
            names = ", ".join(f"{count} {name}" for name, count in self._sum.most_common(_NAMED))
            more = ", ..." if len(self._sum) > _NAMED else ""
            log.info("%d frames: %s%s; %d waiting", self._sum.total(), names, more, self._waiting,
                     extra=fields(FRAMES_SUMMED_UP, FRAMES=str(self._sum.total())))  # fmt: skip
        self._sum.clear()
        self._said = 0
        self._since = time.monotonic()
