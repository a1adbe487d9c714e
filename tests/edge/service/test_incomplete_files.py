"""Retry schedule of incomplete files, with a made clock."""

from dataclasses import dataclass

import pytest

from edge.capture.files import FileState
from edge.database.frame_result import FailedFile
from edge.service import incomplete_files
from edge.service.incomplete_files import RetrySchedule
from edge.vocabulary import FileReason

SETTLE_S, GIVE_UP_S = 2.0, 600.0
NOW_S = 1_700_000_000.0


@dataclass
class MadeClock:
    """The computer's time of day, which may be wrong, and the seconds that have really passed."""

    passed_s: float = 0.0
    off_s: float = 0.0

    def time(self) -> float:
        return NOW_S + self.passed_s + self.off_s

    def monotonic(self) -> float:
        return self.passed_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MadeClock:
    clock = MadeClock()
    monkeypatch.setattr(incomplete_files, "time", clock)
    return clock


def failed(name: str = "a", size: int = 1, changed_s: float = NOW_S) -> FailedFile:
    file = FileState(f"/{name}.jpg", size, int(changed_s * 1e9), int(changed_s * 1e9))
    return FailedFile(file, None, FileReason.TRUNCATED, "it ends early", False)


def pauses(schedule: RetrySchedule, clock: MadeClock, failure: FailedFile) -> list[float]:
    """Every pause until the file is given up; the clock moves on by each of them."""
    found: list[float] = []
    while (pause_s := schedule.pause_s(failure)) is not None:
        found.append(pause_s)
        clock.passed_s += pause_s
        assert len(found) < 100, "it is never given up"
    return found


def test_the_pauses_double_up_to_a_quarter_of_the_time_after_which_a_file_is_given_up(clock: MadeClock) -> None:
    found = pauses(RetrySchedule(SETTLE_S, GIVE_UP_S), clock, failed())
    assert found[:7] == [2, 4, 8, 16, 32, 64, 128]
    assert max(found) == 150
    assert clock.passed_s == pytest.approx(GIVE_UP_S)


def test_a_file_that_was_left_incomplete_long_ago_is_given_up_at_once(clock: MadeClock) -> None:
    assert RetrySchedule(SETTLE_S, GIVE_UP_S).pause_s(failed(changed_s=NOW_S - GIVE_UP_S)) is None


def test_a_file_that_changed_begins_anew(clock: MadeClock) -> None:
    schedule = RetrySchedule(SETTLE_S, GIVE_UP_S)
    for _ in range(3):
        schedule.pause_s(failed())
    clock.passed_s = 500
    found = pauses(schedule, clock, failed(size=2, changed_s=NOW_S + 500))
    assert found[0] == SETTLE_S
    assert clock.passed_s == pytest.approx(500 + GIVE_UP_S)


@pytest.mark.parametrize("off_s", [-50 * 365 * 86400.0, -3600.0])
def test_a_file_from_the_future_is_given_up_by_the_time_that_has_passed(clock: MadeClock, off_s: float) -> None:
    """The device's clock is behind: it woke in 1970, or the camera is ahead of it."""
    clock.off_s = off_s
    pauses(RetrySchedule(SETTLE_S, GIVE_UP_S), clock, failed())
    assert clock.passed_s == pytest.approx(GIVE_UP_S)


def test_no_more_files_are_remembered_than_there_is_room_for(clock: MadeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incomplete_files, "_LIMIT", 3)
    schedule = RetrySchedule(SETTLE_S, GIVE_UP_S)
    for name in "abcd":
        schedule.pause_s(failed(name))
    assert schedule.pause_s(failed("d")) == 2 * SETTLE_S
    assert schedule.pause_s(failed("a")) == SETTLE_S
