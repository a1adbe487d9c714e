"""What every command of `python -m train` and `python -m export` has in common."""

import subprocess
import sys

import pytest

from train.commands.runner import run

TALKER = """
import sys
from types import ModuleType
from train.commands.runner import run

def main(argv):
    for number in range(100_000):
        print("line", number)
    return 3

module = ModuleType("talker")
module.main = main
sys.modules["talker"] = module
sys.exit(run("train", {"talk": ("talker", "prints much")}, (ValueError,), ["talk"]))
"""


def test_a_reader_that_hsamples_of_inputs_enough_ends_the_command_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TALKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("program", ["train", "export"])
@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--help"], 0), (["dance"], 2)])
def test_wrong_use_is_told(program: str, argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"walk": ("nowhere", "goes slowly")}
    assert run(program, commands, (ValueError,), argv) == code
    said = capsys.readouterr()
    assert "walk" in said.out + said.err
    assert f"python -m {program} COMMAND" in said.out or said.err.startswith(f"{program}: there is no command 'dance'")
