"""Events are up to date within a bounded time while frames are logged in a row, and when the run has ended."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.database.events import schedule
from edge.database.events.table import rebuild_events, update_events
from edge.database.frame_result import ClassifiedFrame, Conclusion
from edge.database.schema import open_database
from edge.database.store import Store
from edge.inference.decision import Decider, Decision
from edge.inference.model import Model
from edge.inference.predictor import Models
from edge.settings.options import Settings
from edge.vocabulary import DecisionReason, Kind

GROUP, EVERY_S = 8, 0.3
"""Frames in a group, and seconds from one group to the next."""
WITHOUT_EVENT = "SELECT path FROM media WHERE id NOT IN (SELECT media FROM event_media)"
EVENTS = """
SELECT start, "end", taxon, media_count, (SELECT group_concat(media) FROM event_media WHERE event = event.id)
FROM event ORDER BY start
"""


@dataclass
class MadeClock:
    """A clock that moves only when the test says so, and by the time that each grouping takes."""

    now_s: float = 1000.0
    grouping_takes_s: float = 0.0
    grouping_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def update_events(self, connection: sqlite3.Connection, media: list[int], **more: Any) -> int:
        self.now_s += self.grouping_takes_s
        self.grouping_s += self.grouping_takes_s
        return update_events(connection, media, **more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MadeClock:
    clock = MadeClock()
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(schedule, "update_events", clock.update_events)
    return clock


@pytest.fixture
def open_store(tmp_path: Path, tiny_model: Path) -> Iterator[Callable[[], Store]]:
    model = Model(tiny_model)
    stores: list[Store] = []

    def open_() -> Store:
        stores.append(Store(tmp_path / "d.db", Models(model, Decider(model.card)), Settings(min_free_bytes=0)))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def deer(number: int) -> ClassifiedFrame:
    """Frame `number` of a roe deer, ten minutes after the one before; a day passes after every tenth."""
    at = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=10 * number, days=number // 10)
    roe = Decision(Kind.ANIMAL, "Capreolus capreolus", "species", "roe deer", 0.9, DecisionReason.CONFIDENT)
    captured = CaptureTime(at, "", "UTC", ())
    conclusion = Conclusion(captured, roe, None, None, False, np.zeros((12, 16), np.uint8))
    return ClassifiedFrame(FileState(f"/{number}.jpg", 1, 1), f"{number:040}", 1, 1, None, conclusion)


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows that a reader of the database sees."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize(("grouping_takes_s", "most_behind_s"), [(0.0, 1.0), (0.15, 1.3), (0.5, 10.5)])
def test_while_frames_follow_in_a_row_events_are_little_behind(
    tmp_path: Path, clock: MadeClock, open_store: Callable[[], Store], grouping_takes_s: float, most_behind_s: float
) -> None:
    """At most a second, or twenty times the duration of a grouping, which then takes a twentieth of the time."""
    store, began_s = open_store(), clock.now_s
    clock.grouping_takes_s = grouping_takes_s
    logged_at: dict[str, float] = {}
    behind_s = 0.0
    for first in range(0, 60 * GROUP, GROUP):
        clock.now_s += EVERY_S
        frames = [deer(number) for number in range(first, first + GROUP)]
        store.record(frames, more_follow=True)
        logged_at |= {frame.file.path: clock.now_s for frame in frames}
        waiting = [clock.now_s - logged_at[path] for (path,) in ask(tmp_path / "d.db", WITHOUT_EVENT)]
        behind_s = max(behind_s, *waiting, 0.0)
    assert behind_s <= most_behind_s
    if grouping_takes_s > 0.2:
        assert clock.grouping_s <= (clock.now_s - began_s) / 20 + 2 * grouping_takes_s


@pytest.mark.parametrize("grouping_takes_s", [0.0, 3.0])
def test_when_the_run_has_ended_its_events_are_those_of_all_frames_grouped_at_once(
    tmp_path: Path, clock: MadeClock, open_store: Callable[[], Store], grouping_takes_s: float
) -> None:
    store = open_store()
    clock.grouping_takes_s = grouping_takes_s
    for first in range(0, 5 * GROUP, GROUP):
        store.record([deer(number) for number in range(first, first + GROUP)], more_follow=True)
    store.end()
    store.close()
    events = ask(tmp_path / "d.db", EVENTS)
    assert [event[3] for event in events] == [10] * 4
    with closing(open_database(tmp_path / "d.db")) as connection:
        rebuild_events(connection)
    assert ask(tmp_path / "d.db", EVENTS) == events


def test_a_frame_without_others_behind_it_has_its_event_at_once(
    tmp_path: Path, clock: MadeClock, open_store: Callable[[], Store]
) -> None:
    store = open_store()
    for number in range(3):
        store.record([deer(number)])
        assert ask(tmp_path / "d.db", WITHOUT_EVENT) == []


def test_after_a_crash_the_events_that_were_behind_are_made(
    tmp_path: Path, clock: MadeClock, open_store: Callable[[], Store]
) -> None:
    crashed = open_store()
    for number in range(20):
        crashed.record([deer(number)], more_follow=True)
    crashed.close()
    assert len(ask(tmp_path / "d.db", WITHOUT_EVENT)) == 19
    store = open_store()
    store.record([deer(20)])
    assert ask(tmp_path / "d.db", WITHOUT_EVENT) == []


def test_events_that_a_failed_transaction_left_behind_are_made_by_the_next(
    tmp_path: Path, clock: MadeClock, open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.record([deer(0)])
    store.record([deer(1)], more_follow=True)
    with monkeypatch.context() as broken:
        broken.setattr(schedule, "update_events", _disk_is_full)
        clock.now_s += 60
        with pytest.raises(RuntimeError, match="disk is full"):
            store.record([deer(2)])
    store.record([deer(2)])
    assert ask(tmp_path / "d.db", WITHOUT_EVENT) == []


def _disk_is_full(*_arguments: Any, **_named: Any) -> int:
    raise sqlite3.OperationalError("database or disk is full")
