"""Fixtures of the attacks on the daemon (FAULTS=long for the long form), and the table printed at the end."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.support.daemon_process import STARTED, Burst, Tally
from tests.support.made_images import noisy_jpeg
from tests.support.places import field_frame_paths
from tests.support.requirements import LONG

_LINES: list[str] = []
_MOST_BYTES = 800_000  # the daemon is attacked, not the decoder: smaller frames make more attacks


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of minutes run in the long form only."""
    if LONG:
        return
    chosen = [item for item in items if item.get_closest_marker("faults_long") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _LINES:
        terminalreporter.section("attacks on the daemon")
        for line in _LINES:
            terminalreporter.write_line(line)


@pytest.fixture
def report() -> Callable[[Tally], None]:
    """Records the line of an attack, and fails the test when anything was lost or logged twice."""

    def take(tally: Tally) -> None:
        _LINES.append(str(tally))
        assert tally.is_clean, tally

    return take


@pytest.fixture(scope="session")
def frames() -> list[bytes]:
    """The bytes of frames, all different: real ones beside the checkout, else made ones."""
    real = {path.read_bytes(): None for path in field_frame_paths() if path.stat().st_size < _MOST_BYTES}
    return list(real) if len(real) > 50 else [noisy_jpeg(seed, height=30, width=40, block_px=16) for seed in range(100)]


@pytest.fixture
def burst(frames: list[bytes]) -> Burst:
    return Burst(frames)


@pytest.fixture(autouse=True)
def no_daemon_outlives_its_test() -> Iterator[None]:
    yield
    for process in STARTED:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    STARTED.clear()
