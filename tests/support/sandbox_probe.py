"""Tries, inside the service's sandbox, what the service must not be able to do, and writes the outcomes as JSON.

Run as a module it takes the file to write as its argument. It needs nothing but Python.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable


def outcome(attempt: Callable[[], object]) -> str:
    """`could`, or the name of the error that it met."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "could"


def write(folder: str) -> None:
    path = os.path.join(folder, "probe")
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def writable_and_executable() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def system_call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def main(out: str) -> None:
    with open("/proc/self/status") as file:
        status = file.readlines()
    families = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_BLUETOOTH")
    found = {
        "write": {
            folder: outcome(lambda folder=folder: write(folder))  # type: ignore[misc]
            for folder in os.environ["PROBE_FOLDERS"].split(":")
        },
        "read": {
            path: outcome(lambda path=path: read(path))  # type: ignore[misc]
            for path in os.environ["PROBE_FILES"].split(":")
        },
        "socket": {
            name: outcome(lambda name=name: socket.socket(getattr(socket, name), socket.SOCK_DGRAM).close())  # type: ignore[misc]
            for name in families
        },
        "other": {
            "writable and executable memory": outcome(writable_and_executable),
            "new user namespace": outcome(lambda: system_call("unshare", 0x10000000)),
            "mount": outcome(lambda: system_call("mount", 0, 0, 0, 0, 0)),
            "set the clock": outcome(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
            "set-user-id file": outcome(lambda: os.chmod(out, 0o4755)),
        },
        "capabilities": [line.split()[1] for line in status if line.startswith("Cap")],
        "processes": sorted({os.stat(f"/proc/{pid}").st_uid for pid in os.listdir("/proc") if pid.isdigit()}),
        "me": os.getuid(),
    }
    with open(out, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    open(sys.argv[1], "w").close()
    main(sys.argv[1])
