"""Limits of time and memory for work on files that may be hostile."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
def limited_time(seconds: float, message: str, exit_code: int) -> Iterator[None]:
    """End this process with a line on stderr when the work takes longer: native code cannot be interrupted."""

    def give_up() -> None:
        os.write(2, f"{message}\n".encode("utf-8", "backslashreplace"))
        os._exit(exit_code)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
