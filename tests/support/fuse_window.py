"""A FUSE file system that shows another folder, without kernel events and with read errors on demand."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.daemon_process import wait_until

_PROGRAM = """
import os, sys
from errno import EIO
from fuse import FUSE, FuseOSError, Operations

class Window(Operations):
    def __init__(self, behind, fails): self.behind, self.fails = behind, fails
    def _at(self, path): return self.behind + path
    def getattr(self, path, fh=None):
        try: status = os.lstat(self._at(path))
        except OSError as error: raise FuseOSError(error.errno)
        keys = ("st_mode", "st_size", "st_mtime", "st_ctime", "st_nlink", "st_uid")
        return {key: getattr(status, key) for key in keys}
    def readdir(self, path, fh): return [".", "..", *os.listdir(self._at(path))]
    def open(self, path, flags): return os.open(self._at(path), os.O_RDONLY)
    def read(self, path, size, offset, fh):
        if offset >= 8192 and "bad" in path and os.path.exists(self.fails): raise FuseOSError(EIO)
        return os.pread(fh, size, offset)
    def release(self, path, fh): os.close(fh)

FUSE(Window(sys.argv[1], sys.argv[3]), sys.argv[2], foreground=True, ro=True, direct_io=True)
"""


@contextmanager
def fuse_window(behind: Path, shown: Path, fails: Path) -> Iterator[None]:
    """Show `behind` at `shown`; while the file `fails` exists, files with `bad` in the name end in a read error."""
    if find_spec("fuse") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("FUSE shows the folder (pip install fusepy)")
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(behind), str(shown), str(fails)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as window:
        try:
            wait_until(lambda: os.path.ismount(shown) or window.poll() is not None, 20, "the FUSE mount")
            if window.poll() is not None:
                pytest.skip("libfuse is not here (apt-get install libfuse2)")
            yield
        finally:
            subprocess.run(["umount", "-l", str(shown)], check=False, capture_output=True)
            window.terminate()
