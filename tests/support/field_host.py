"""Boots a Debian with its own systemd in a container, which is to the service what a field computer is."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.places import REPOSITORY

TIMEOUT_S = 60.0
DATABASE = "var/lib/edge-classify/detections.db"
CAPTURES = "srv/captures"
PACKAGES = "systemd,systemd-sysv,dbus,python3,procps"
"""Packages that Raspberry Pi OS Lite has as well; notably without pip and python3-venv."""
INSIDE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def missing() -> str | None:
    """Why no host can be booted here; `None` when one can."""
    if os.geteuid() != 0:
        return "booting a host needs root"
    absent = [tool for tool in ("systemd-nspawn", "debootstrap", "nsenter") if shutil.which(tool) is None]
    return f"{', '.join(absent)} not installed (apt-get install systemd-container debootstrap)" if absent else None


def debian(cache: Path, suite: str, architecture: str, packages: str = PACKAGES) -> Path:
    """A minimal Debian, fetched the first time."""
    root = cache / (suite if architecture == "amd64" else f"{suite}-{architecture}")
    if not (root / ".complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        options = ["--variant=minbase", f"--arch={architecture}", f"--include={packages}"]
        subprocess.run(["debootstrap", *options, suite, str(root)], check=True)
        (root / ".complete").touch()
    return root


def usb_stick(platform: str) -> Path:
    """The folder that `make wheelhouse` collects from this checkout."""
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([REPOSITORY / "systemd/wheelhouse.sh", platform, "3.11 3.13"], check=True, env=environment)
    return REPOSITORY / "dist" / f"edge-classify-{platform}"


def until(true: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a condition; a failed test names the one that did not come."""
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        pause.wait(0.05)


@contextmanager
def layered(layers: Sequence[Path], scratch: Path) -> Iterator[Path]:
    """A root file system whose changes go to `scratch/changes`, over `layers`, the topmost first."""
    for name in ("changes", "work", "root"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    root = scratch / "root"
    options = f"lowerdir={':'.join(map(str, layers))},upperdir={scratch / 'changes'},workdir={scratch / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "edge-host", "-o", options, str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


class FieldHost:
    """Boots `root`; frames are dropped and rows are read from outside, commands run inside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.captures = root / CAPTURES
        self._container: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]
        command += ["--console=pipe", f"--machine=edge-{os.getpid()}", f"--directory={self.root}"]
        self._container = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_enter_own_memory_group if _MEMORY_V1.is_dir() else None,
        )
        until(lambda: self._is_up(), "the host boots")
        if _MEMORY_V1.is_dir():  # the container sees the old hierarchies read-only; a limit is to be tested
            self.run("mount", "-o", "remount,bind,rw", "/sys/fs/cgroup/memory")
            self.systemctl("daemon-reexec")

    def _is_up(self) -> bool:
        return self._leader is not None and self.run("systemctl", "is-system-running", check=False).strip() in (
            "running",
            "degraded",
        )

    @property
    def _leader(self) -> str | None:
        """Process id of the container's own init."""
        assert self._container is not None
        pid = self._container.pid
        assert self._container.poll() is None, f"systemd-nspawn ended with {self._container.returncode}"
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return children[0] if children else None

    def run(self, *command: str, check: bool = True, given: str | None = None) -> str:
        """Run a command as root inside; gives its output (both streams), and fails the test when the command does."""
        words = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i"]
        words += [f"{name}={value}" for name, value in INSIDE.items()]
        done = subprocess.run(
            [*words, *command], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run("systemctl", *words, check=check)

    def property(self, name: str, unit: str = "edge-classify") -> str:
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def drop_in(self, text: str, unit: str = "edge-classify.service") -> None:
        """Change a unit the way an administrator does."""
        folder = self.root / "etc/systemd/system" / f"{unit}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text(text)
        self.systemctl("daemon-reload")

    def journal(self, unit: str = "edge-classify") -> list[dict[str, str]]:
        lines = self.run("journalctl", "--unit", unit, "--output", "json", "--no-pager").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def has_logged(self, text: str, unit: str = "edge-classify") -> bool:
        return any(text in str(entry.get("MESSAGE", "")) for entry in self.journal(unit))

    def query(self, sql: str, database: str = DATABASE) -> list[tuple[object, ...]]:
        path = self.root / database
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # it is being made
                    return []
                raise

    def classified(self, database: str = DATABASE) -> int:
        rows = self.query("SELECT count(*) FROM media WHERE status = 'classified'", database)
        return int(str(rows[0][0])) if rows else 0

    def logged_once(self, frames: int) -> bool:
        """Whether this many distinct frames have one media row and one observation each, and nothing else is logged."""
        media, digests, observations = self.query(
            "SELECT count(*), count(DISTINCT digest), (SELECT count(*) FROM observation) FROM media"
        )[0]
        return media == digests == observations == frames

    def drop(self, frames: Sequence[Path], folder: Path | None = None) -> None:
        """Copy frames into the watched folder, each under a name of its own."""
        for frame in frames:
            shutil.copyfile(frame, (folder or self.captures) / f"{frame.parent.name}-{frame.name}")

    def daemon_pid(self) -> str:
        return self.property("MainPID")

    def reboot(self) -> None:
        assert self._container is not None
        self.systemctl("reboot", check=False)
        self._container.wait(TIMEOUT_S)
        self.boot()

    def pull_the_plug(self) -> None:
        """Kill the container's init, so that everything inside ends at once without being asked to."""
        assert self._container is not None
        if (leader := self._leader) is not None:
            os.kill(int(leader), signal.SIGKILL)
        else:
            self._container.kill()
        self._container.wait(TIMEOUT_S)
        self._container = None

    def close(self) -> None:
        if self._container is not None and self._container.poll() is None:
            self.pull_the_plug()


_MEMORY_V1 = Path("/sys/fs/cgroup/memory")


def _enter_own_memory_group() -> None:
    group = _MEMORY_V1 / "edge-host-test"
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()))
