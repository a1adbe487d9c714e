"""Standard output whose failure (closed pipe, full disk) is logged once and never stops the work."""

import logging
import os
from contextlib import suppress
from typing import TextIO

log = logging.getLogger(__name__)


class SafeOutput:
    """Writes text until that fails; the failure is logged once, and later text is dropped."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._gone = False

    def write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            self._gone = True
            log.warning("the output cannot be written any more (%s); the database goes on", error)
            # What is left in the buffer would fail again when Python ends.
            with suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), self._out.fileno())
