"""What tests need of the machine: root, strace, mounts, user namespaces; and whether to run the long form."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LONG = os.environ.get("FAULTS", "") == "long"
"""Whether the daemon is attacked for an hour instead of a minute (`make faults`)."""
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the errors (apt-get install)")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def strace_injecting(what: str, *options: str) -> list[str]:
    """The command line in front of the daemon's, so that some of its system calls fail (see `inject=` in strace(1))."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", *options, "-e", "signal=none", "-e", f"inject={what}"]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own at `folder`; skips the test where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this host lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def user_namespace(limit: str, value: int) -> list[str]:
    """The command line in front of another that sets /proc/sys/user/`limit` for it; skips the test without it."""
    script = f'echo {value} > /proc/sys/user/{limit} && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this host makes no user namespaces")
    return wrapper
