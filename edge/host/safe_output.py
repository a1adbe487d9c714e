"""Standard output that never stops the work: its reader may have gone, the disk behind it may be full."""

import logging
import os
from contextlib import suppress
from typing import TextIO

log = logging.getLogger(__name__)


class SafeOutput:
    """Writes until that fails; from then on it is silent, and says so once on standard error."""

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
            log.warning("nobody reads the output any more (%s); the database goes on", error)
            # What is left in the buffer would fail once more when Python ends.
            with suppress(OSError, ValueError), open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), self._out.fileno())
