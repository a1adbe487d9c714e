"""The test process keeps its own signal handlers, although the commands that it calls set theirs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keep_signals() -> Iterator[None]:
    """Set the handlers of SIGINT, SIGTERM and SIGHUP again at the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
