"""How many frames are examined side by side."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Runs the command on one frame and says which threads examined, and how many OpenCV would take for a picture.
COUNTING = """
import sys, threading
import cv2
from edge.service import pipeline
from edge.commands import classify as cli

class Counting(pipeline.ThreadPoolExecutor):
    def __init__(self, threads, name):
        print(threads, end=" ")
        super().__init__(threads, name)

pipeline.ThreadPoolExecutor = Counting
code = cli.main(sys.argv[1:])
print(cv2.getNumThreads())
sys.exit(code)
"""


@pytest.mark.parametrize(("words", "threads"), [((), 1), (("--threads", "3"), 3), (("--power",), 1)])
def test_as_many_threads_as_there_are_cores_for_us(
    tmp_path: Path, tiny_model: Path, words: tuple[str, ...], threads: int
) -> None:
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", COUNTING, str(tmp_path), "--db", str(tmp_path / "d.db"), "-q", "--model",
               str(tiny_model), *words]  # fmt: skip
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    assert said.stdout.split() == [str(threads), "1"]
