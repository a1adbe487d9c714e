"""Limits of time and memory for work on files that may be hostile."""

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHECK_S = 0.25
_STATUS = Path("/proc/self/status")


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let this process take at most `more_bytes` more than it has; beyond, allocations fail (`MemoryError`).

    Where the system knows no such limit, or a sandbox forbids to set it, there is none.
    """
    former = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):
        lines = _STATUS.read_text("ascii").splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        most = used + more_bytes if former[1] == resource.RLIM_INFINITY else min(used + more_bytes, former[1])
        resource.setrlimit(resource.RLIMIT_DATA, (most, former[1]))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, former)


@contextmanager
def limited_time(seconds: float, give_up: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Call `give_up` from another thread when a step of the work takes the processor longer; gives what begins a step.

    Time of the processor, not of the clock: a device that is busy with other things is slow, and nothing is wrong.
    `give_up` should end the process, because native code cannot be interrupted.
    """
    ended = threading.Event()
    begun = time.process_time()

    def begin_step() -> None:
        nonlocal begun
        begun = time.process_time()

    def watch() -> None:
        while not ended.wait(_CHECK_S):
            if time.process_time() - begun > seconds:
                give_up()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield begin_step
    finally:
        ended.set()
