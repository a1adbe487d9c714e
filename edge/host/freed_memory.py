"""Memory that was freed, given back to the system."""

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT_BYTES, _LARGEST_KEPT_BYTES = 8 << 20, 4 << 20


def give_back_freed_memory() -> None:
    """Have large blocks given back once they are freed; for the whole process, from now on.

    By itself glibc keeps up to 64 MB of what each thread freed: four threads that decoded one large image each hold as
    much as the decoder of another. Elsewhere than on Linux with glibc this does nothing.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
            library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
