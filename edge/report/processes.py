"""Worker processes for long reports."""

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def processors() -> int:
    """Number of usable processors; 1 where a process cannot be forked safely."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


@contextmanager
def forking() -> Iterator[Any]:
    """`multiprocessing` by forks, without Python's warning of threads: numpy keeps some for products of matrices,
    idle here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield multiprocessing.get_context("fork")


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Leave Python's search for reference cycles out: rows by the million hold none, and looking through them took a
    quarter of the processor time of a long report.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def ignore_ctrl_c() -> None:
    """In a worker process: Ctrl-C is handled by the main process, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
