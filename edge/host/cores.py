"""Cores of this process."""

import os
import sys


def cores() -> int:
    """Cores of this process: a unit or a container may have been given fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
