"""A training keeps the memory that it frees, unless the user has settled how memory is kept."""

import os
import subprocess
import sys

import pytest

from train.memory import TUNABLES, settings

PROGRAM = f"import os; from train.memory import keep_freed_memory; keep_freed_memory(); print(os.environ['{TUNABLES}'])"


@pytest.mark.skipif(not settings({}), reason="another C library than glibc is at work here")
def test_the_program_starts_again_with_the_setting_and_its_arguments() -> None:
    environment = {name: value for name, value in os.environ.items() if name != TUNABLES}
    said = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == settings({})[TUNABLES]


def test_a_setting_of_the_user_stays() -> None:
    chosen = {TUNABLES: "glibc.malloc.arena_max=1"}
    assert settings(chosen) == {}
