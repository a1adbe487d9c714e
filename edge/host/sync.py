"""Makes what was written last through a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until the disk holds the file, or the names in the folder. Raises `OSError`."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
