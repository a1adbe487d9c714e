"""The most memory that a run of the real command took, and what it logged."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.support.places import REPOSITORY
from tests.support.start_hook import start_hook

# The process itself says so at its end: what the system counts of a child begins with its parent's memory.
_SAY_PEAK = """
import atexit, os, re

def say():
    with open("/proc/self/status") as status, open(os.environ["PEAK"], "a") as out:
        print(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1], file=out)

atexit.register(say)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run over a folder."""

    peak_mb: float
    """Of the largest of its processes."""
    cpu_s: float
    logged: dict[str, tuple[str, str | None]]
    """Status and reason, by the name of the file."""


def classify_once(folder: Path, work: Path, *options: str, checkout: Path = REPOSITORY) -> Run:
    """Run `edge-classify FOLDER` with the shipped model and the defaults; `work` is a new folder for its files."""
    work.mkdir()
    peak, db = work / "peak", work / "detections.db"
    environment = os.environ | start_hook(work / "hook", {}, _SAY_PEAK) | {"PEAK": str(peak)}
    environment["PYTHONPATH"] = f"{work / 'hook'}:{checkout}"
    command = [sys.executable, "-m", "edge.commands.classify", str(folder), "--db", str(db), "-q", *options]
    before = os.times()
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    after = os.times()
    assert done.returncode in (0, 1), done.stderr
    with closing(sqlite3.connect(db)) as database:
        rows = database.execute("SELECT path, status, reason FROM media").fetchall()
    logged = {Path(path).name: (status, reason) for path, status, reason in rows}
    peak_mb = max(int(line) for line in peak.read_text().split()) / 1000
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(peak_mb, cpu_s, logged)
