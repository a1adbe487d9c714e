"""Exit codes and errors are the same for every command."""

import os
import subprocess
import sys
from errno import ELOOP
from pathlib import Path

import pytest

from edge.commands.runner import ExitCode, run
from edge.settings.strict_toml import SettingsError

REPOSITORY = Path(__file__).parents[3]


def raising(error: BaseException) -> int:
    raise error


def test_the_commands_own_exit_code_is_given() -> None:
    assert run("edge-x", lambda: ExitCode.PROBLEM) == 1


def test_errors_of_use_are_one_line_and_others_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("edge-x", lambda: raising(SettingsError("no such key"))) == 2
    assert run("edge-x", lambda: raising(OSError("no such disk")), OSError) == 2
    assert run("edge-x", lambda: raising(OSError(ELOOP, "links in a circle", "a\nb"))) == 2
    assert capsys.readouterr().err == "edge-x: no such key\nedge-x: no such disk\nedge-x: a\\nb: links in a circle\n"
    with pytest.raises(OSError, match="no such disk"):
        run("edge-x", lambda: raising(OSError("no such disk")))


def test_ctrl_c_is_130_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("edge-x", lambda: raising(KeyboardInterrupt()), interrupted="nothing was written") == 130
    assert capsys.readouterr().err == "\nedge-x: nothing was written\n"


def test_a_broken_pipe_other_than_the_output_is_not_hidden() -> None:
    with pytest.raises(BrokenPipeError):
        run("edge-x", lambda: raising(BrokenPipeError()), OSError)


@pytest.mark.parametrize("module", ["edge.commands.model", "edge.commands.doctor"])
def test_a_reader_that_leaves_early_is_no_error(module: str, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = ["info"] if module.endswith("model") else []
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=write_end,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=False,
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")
