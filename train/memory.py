"""Memory that a step frees is kept for the next one: the system clears every page that it hands out anew."""

import os
import platform
import sys
from collections.abc import Mapping

TUNABLES = "GLIBC_TUNABLES"
# By default glibc gives each large array back at once, and a training step then spends half its time on page faults:
# nothing is mapped apart, nothing is given back, and what is taken comes in huge pages.
_KEEP = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (("mmap_max", 0), ("trim_threshold", 2**34), ("top_pad", 2**28), ("hugetlb", 1))
)


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to the environment; nothing where the user has chosen, or another C library is at work."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or TUNABLES in environment:
        return {}
    return {TUNABLES: _KEEP}


def keep_freed_memory() -> None:
    """Start this program again with those settings, which count from a process's first moment; else do nothing."""
    if added := settings(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **added})
