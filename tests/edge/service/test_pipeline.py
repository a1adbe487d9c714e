"""The pipeline with a made processor and a made database: order, back-pressure, retries, model changes, shutdown."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from typing import Any, Self, cast

import numpy as np
import pytest

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.database.disk_guard import DatabaseWaits
from edge.database.frame_result import ClassifiedFrame, Conclusion, Duplicate, FailedFile, FrameResult
from edge.inference.decision import Decision
from edge.inference.predictor import Models
from edge.service import worker_pool
from edge.service.crash_guard import CrashGuard
from edge.service.pipeline import GROUP, POWER_GROUP, RETRY_AT_MOST_S, Hooks, Pipeline
from edge.settings.options import Settings
from edge.vocabulary import DecisionReason, FileReason, Kind, MediaStatus
from tests.support.daemon_process import wait_until

TIMEOUT_S = 20.0
"""A gate stays closed for so long only if the pipeline waits for something that never comes."""


class MadeProcessor:
    """Gives each file a result, at once or when its gate opens, and counts how many are processed side by side."""

    def __init__(self, model: str = "old") -> None:
        self.model = model
        self.gates: dict[str, threading.Event] = {}
        self.results: dict[str, FrameResult | BaseException | None] = {}
        """Results of files that are not a frame of their own."""
        self.processed: list[str] = []
        self.side_by_side = self.most_side_by_side = 0
        self._lock = threading.Lock()

    @property
    def models_sha256(self) -> str:
        return self.model

    def process(self, file: FileState) -> FrameResult | None:
        with self._lock:
            self.side_by_side += 1
            self.most_side_by_side = max(self.most_side_by_side, self.side_by_side)
        if gate := self.gates.get(file.path):
            assert gate.wait(TIMEOUT_S), f"{file.path} waits for ever"
        with self._lock:
            self.side_by_side -= 1
            self.processed.append(file.path)
        result = self.results.get(file.path, frame(file, file.path, self.model))
        if isinstance(result, BaseException):
            raise result
        return result

    def again_after_others(self, frame: ClassifiedFrame, decided: set[str]) -> FrameResult:
        return Duplicate(frame.file, frame.digest) if frame.digest in decided else frame

    def with_models(self, models: Models) -> Self:
        return type(self)("new")


class MadeLog:
    """A database that keeps what it is given, once it has refused as often as it was told to."""

    def __init__(self, *refusals: str) -> None:
        self.groups: list[list[FrameResult]] = []
        self.more_follow: list[bool] = []
        self.runs_begun_after: list[int] = []
        """Number of results that were logged when a run began."""
        self.refusals = list(refusals)

    def record(self, results: Sequence[FrameResult], more_follow: bool = False) -> Sequence[FrameResult]:
        self._refuse()
        self.groups.append(list(results))
        self.more_follow.append(more_follow)
        return results

    def begin_run(self, models: Models) -> None:
        self._refuse()
        self.runs_begun_after.append(len(self.results))

    def _refuse(self) -> None:
        if self.refusals:
            raise DatabaseWaits(self.refusals.pop(0))

    @property
    def results(self) -> list[FrameResult]:
        return [result for group in self.groups for result in group]

    @property
    def paths(self) -> list[str]:
        return [result.file.path for result in self.results]


class QuietGuard(CrashGuard):
    """Counts crashes and starts no process."""

    crashes = 0

    def suspect(self) -> None:
        self.crashes += 1


class CountingStop(threading.Event):
    """Waits for no time but notes the pauses; is set after `most` of them."""

    def __init__(self, most: int = 1_000) -> None:
        super().__init__()
        self.pauses_s: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses_s.append(timeout or 0.0)
        if len(self.pauses_s) >= self._most:
            self.set()
        return self.is_set()


def frame(file: FileState, digest: str, model: str = "old") -> ClassifiedFrame:
    """A frame on which nothing is seen; the name of the model stands in place of the deployment."""
    captured = CaptureTime(datetime(2026, 1, 1, tzinfo=UTC), "", "UTC", ())
    decision = Decision(Kind.BLANK, None, None, "blank", 1.0, DecisionReason.CONFIDENT)
    conclusion = Conclusion(captured, decision, None, None, False, np.zeros((12, 16), np.uint8))
    return ClassifiedFrame(file, digest, 1, 1, model, lambda: conclusion)


def numbered(count: int) -> list[FileState]:
    return [FileState(f"/{number:03}.jpg", 1, number) for number in range(count)]


def failed(file: FileState, final: bool = False) -> FailedFile:
    return FailedFile(file, None, FileReason.TRUNCATED, "it ends early", final)


def made(processor: MadeProcessor, log: MadeLog, settings: Settings | None = None, **hooks: Any) -> Pipeline:
    settings = settings or Settings(threads=2)
    guard = QuietGuard(settings, False, lambda digest: False)
    return Pipeline(processor, log, settings, guard, Hooks(**{"announce": lambda result: None, **hooks}))


def test_results_are_logged_in_the_order_of_the_files_whichever_is_ready_first() -> None:
    processor, log, files = MadeProcessor(), MadeLog(), numbered(30)
    first = processor.gates[files[0].path] = threading.Event()
    announced: list[str] = []

    def arriving() -> Iterator[FileState]:
        yield from files[:10]
        wait_until(lambda: len(processor.processed) == 9, TIMEOUT_S, "the files after the first")
        first.set()
        yield from files[10:]

    made(processor, log, announce=lambda result: announced.append(result.file.path)).run(arriving(), threading.Event())
    assert files[0].path not in processor.processed[:9]
    assert log.paths == announced == [file.path for file in files]


@pytest.mark.parametrize("settings", [Settings(threads=1), Settings(threads=5), Settings(power=True)])
def test_no_more_files_are_taken_than_the_pipeline_has_room_for(settings: Settings) -> None:
    log, files = MadeLog(), numbered(200)
    not_logged: list[int] = []

    def arriving() -> Iterator[FileState]:
        for number, file in enumerate(files, 1):
            not_logged.append(number - len(log.results))
            yield file

    made(MadeProcessor(), log, settings).run(arriving(), threading.Event())
    group = POWER_GROUP if settings.power else GROUP
    assert max(not_logged) == 2 * group + (settings.threads or 1)
    assert max(map(len, log.groups)) == group
    assert log.paths == [file.path for file in files]
    assert log.more_follow == [True] * (len(log.groups) - 1) + [False]


def test_what_is_in_hand_is_logged_when_no_other_file_is_ready() -> None:
    log, files = MadeLog(), numbered(3)

    def arriving() -> Iterator[FileState | None]:
        yield from files
        yield None
        assert log.paths == [file.path for file in files]

    made(MadeProcessor(), log).run(arriving(), threading.Event())
    assert log.more_follow == [False]


@pytest.mark.parametrize(
    ("cores", "settings", "threads"),
    [
        (1, Settings(), 1),
        (3, Settings(), 3),
        (1, Settings(threads=3), 3),
        (2, Settings(power=True), 1),
    ],
)
def test_as_many_files_side_by_side_as_this_process_has_cores(
    cores: int, settings: Settings, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    processor, files = MadeProcessor(), numbered(8)
    gate = threading.Event()
    processor.gates = {file.path: gate for file in files}
    before = set(threading.enumerate())

    def arriving() -> Iterator[FileState]:
        yield from files
        wait_until(lambda: processor.side_by_side == threads, TIMEOUT_S, "the threads")
        assert len(set(threading.enumerate()) - before) == threads
        gate.set()

    made(processor, MadeLog(), settings).run(arriving(), threading.Event())
    assert processor.most_side_by_side == threads
    assert set(threading.enumerate()) <= before


def test_a_copy_in_the_same_group_is_a_duplicate_and_a_file_that_is_gone_is_nothing() -> None:
    processor, log, files = MadeProcessor(), MadeLog(), numbered(4)
    processor.results[files[1].path] = None
    processor.results[files[3].path] = frame(files[3], files[0].path)
    made(processor, log).run(iter(files), threading.Event())
    assert [type(result) for result in log.results] == [ClassifiedFrame, ClassifiedFrame, Duplicate]
    assert log.paths == [files[0].path, files[2].path, files[3].path]


def test_what_was_at_a_path_is_logged_before_what_is_there_now() -> None:
    log, files = MadeLog(), numbered(3)
    made(MadeProcessor(), log).run([*files, FileState(files[0].path, 2, 9)], threading.Event())
    assert [len(group) for group in log.groups] == [3, 1]


def test_an_incomplete_file_is_tried_again_or_given_up_as_its_schedule_says() -> None:
    processor, log, files = MadeProcessor(), MadeLog(), numbered(3)
    processor.results = {files[0].path: failed(files[0]), files[1].path: failed(files[1])}
    processor.results[files[2].path] = failed(files[2], final=True)
    asked: list[str] = []

    def retry_after_s(failure: FailedFile) -> float | None:
        asked.append(failure.file.path)
        return 7.0 if failure.file == files[0] else None

    made(processor, log, retry_after_s=retry_after_s).run(iter(files), threading.Event())
    waiting, given_up, final = cast(list[FailedFile], log.results)
    assert (waiting.retry_after_s, waiting.status) == (7.0, MediaStatus.PENDING)
    assert (given_up.retry_after_s, given_up.status) == (None, MediaStatus.UNREADABLE)
    assert final.status == MediaStatus.UNREADABLE
    assert asked == [files[0].path, files[1].path]


def test_frames_wait_while_the_database_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    log, files, stop = MadeLog(*["full"] * 7, "locked"), numbered(5), CountingStop()
    alive_while_refused: list[int] = []
    announced: list[FrameResult] = []

    def announce(result: FrameResult) -> None:
        assert result in log.results
        announced.append(result)

    def alive(in_hand: int) -> None:
        alive_while_refused.append(len(log.refusals))

    with caplog.at_level(logging.WARNING):
        made(MadeProcessor(), log, announce=announce, alive=alive).run(iter(files), stop)
    assert log.paths == [file.path for file in files]
    assert announced == log.results
    assert stop.pauses_s == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, *[RETRY_AT_MOST_S] * 3])
    assert set(alive_while_refused) == set(range(9))
    lines = [record.message for record in caplog.records]
    assert [line.split(";")[0] for line in lines] == ["database: full", "database: locked", "database: writing again"]


def test_stopped_while_the_database_cannot_be_written_it_leaves_the_frames_to_the_next_start() -> None:
    log, announced = MadeLog(*["full"] * 9), list[FrameResult]()
    stop = CountingStop(most=3)
    made(MadeProcessor(), log, announce=announced.append).run(iter(numbered(40)), stop)
    assert len(stop.pauses_s) == 3
    assert log.results == announced == []


def test_stopped_it_takes_no_further_file_and_logs_those_in_hand() -> None:
    processor, log, files, stop = MadeProcessor(), MadeLog(), numbered(50), threading.Event()
    taken: list[FileState] = []

    def arriving() -> Iterator[FileState]:
        for file in files:
            taken.append(file)
            if len(taken) == 5:
                stop.set()
            yield file

    made(processor, log).run(arriving(), stop)
    assert log.paths == [file.path for file in taken] == [file.path for file in files[:5]]


ERRORS = (
    *(ZeroDivisionError("a bug"), KeyError(6), TimeoutError("no answer"), StopIteration(), SystemExit(3)),
    *(
        BrokenProcessPool("not ours"),
        MemoryError(),
        OverflowError("too large"),
        UnicodeEncodeError("utf-8", "x", 0, 1, ""),
    ),
)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_error_over_one_file_is_that_files_own(error: BaseException) -> None:
    processor, log, files = MadeProcessor(), MadeLog(), numbered(30)
    processor.results[files[12].path] = error
    before = set(threading.enumerate())
    made(processor, log).run(iter(files), threading.Event())
    assert log.paths == [file.path for file in files]
    (bad,) = [result for result in log.results if isinstance(result, FailedFile)]
    assert (bad.file, bad.reason, bad.status) == (files[12], FileReason.INTERNAL_ERROR, MediaStatus.UNREADABLE)
    assert type(error).__name__ in bad.detail
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("error", [ERRORS[0], ERRORS[3], ERRORS[4], ERRORS[7]], ids=repr)
def test_a_result_that_cannot_be_stored_takes_no_other_with_it(error: BaseException, always: bool) -> None:
    class Choosy(MadeLog):
        def record(self, results: Sequence[FrameResult], more_follow: bool = False) -> Sequence[FrameResult]:
            for result in results:
                if result.file in strange and (always or not isinstance(result, FailedFile)):
                    raise error
            return super().record(results, more_follow)

    log, files = Choosy(), numbered(30)
    strange = [files[3], files[11], files[12], files[29]]
    announced: list[FrameResult] = []
    made(MadeProcessor(), log, announce=announced.append).run(iter(files), threading.Event())
    assert log.paths == [file.path for file in files if not (always and file in strange)]
    assert [result.file for result in announced] == files
    failures = [result for result in announced if isinstance(result, FailedFile)]
    assert [(bad.file, bad.reason) for bad in failures] == [(file, FileReason.INTERNAL_ERROR) for file in strange]
    assert all(("not in the database" in bad.detail) == always for bad in failures)


def test_a_result_that_cannot_be_announced_stops_nothing() -> None:
    log, files = MadeLog(), numbered(30)

    def announce(result: FrameResult) -> None:
        raise UnicodeEncodeError("utf-8", "x", 0, 1, "")

    made(MadeProcessor(), log, announce=announce).run(iter(files), threading.Event())
    assert log.paths == [file.path for file in files]


@pytest.mark.parametrize("refusals", [[], ["locked", "locked"]])
def test_other_models_begin_a_run_after_the_frames_in_hand(refusals: list[str]) -> None:
    log, files = MadeLog(), numbered(20)
    pipeline = made(MadeProcessor(), log)

    def arriving() -> Iterator[FileState]:
        yield from files[:5]
        pipeline.use(cast(Models, "new"))
        yield files[5]
        log.refusals = refusals
        yield from files[6:]

    pipeline.run(arriving(), threading.Event())
    (after,) = log.runs_begun_after
    models = [result.deployment for result in log.results if isinstance(result, ClassifiedFrame)]
    assert models == ["old"] * after + ["new"] * (20 - after)
    assert log.paths == [file.path for file in files]


class CrashingPool(Executor):
    """Worker processes of which one has crashed: all that they were asked is lost."""

    def submit(self, *_arguments: Any, **_named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("a worker crashed"))
        return future


def test_after_a_worker_process_crashed_its_frames_are_tried_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "worker_pool", lambda settings, models_sha256: CrashingPool())
    processor, log, files, settings = MadeProcessor(), MadeLog(), numbered(40), Settings(workers=3)
    guard = QuietGuard(settings, False, lambda digest: False)
    Pipeline(processor, log, settings, guard, Hooks(lambda result: None)).run(iter(files), threading.Event())
    assert log.paths == [file.path for file in files]
    assert sorted(processor.processed) == log.paths
    assert guard.crashes == 1


def test_worker_processes_change_models_with_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the run of the new model would be given the old one's answers."""

    class Pool(Executor):
        def __init__(self, model: str) -> None:
            self.processor = MadeProcessor(model)

        def submit(self, _process: Any, file: FileState, *_: Any, **_named: Any) -> "Future[Any]":  # type: ignore[override]
            future: Future[Any] = Future()
            future.set_result(self.processor.process(file))
            return future

    monkeypatch.setattr(worker_pool, "worker_pool", lambda settings, models_sha256: Pool(models_sha256))
    log, files, settings = MadeLog(), numbered(20), Settings(workers=2)
    pipeline = Pipeline(
        MadeProcessor("old"), log, settings, QuietGuard(settings, False, lambda digest: False), Hooks(lambda _: None)
    )

    def arriving() -> Iterator[FileState | None]:
        yield from files[:10]
        pipeline.use(cast(Models, object()))
        yield from files[10:]

    pipeline.run(arriving(), threading.Event())
    (after,) = log.runs_begun_after
    models = [result.deployment for result in log.results if isinstance(result, ClassifiedFrame)]
    assert models == ["old"] * after + ["new"] * (20 - after)
