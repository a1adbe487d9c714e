"""What a log says, and where TensorBoard goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from train.runtime import training_log as progress
from train.runtime.training_log import Progress


class Writer:
    """Keeps what it is given, as TensorBoard's would."""

    made: "list[Writer]" = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.purge_step = purge_step
        self.points: list[tuple[str, int]] = []
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, step))


def test_tensorboard_goes_on_at_the_step_where_a_run_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "summary_writer", lambda: Writer)
    for done in (0, 5):
        log = Progress(tmp_path, 5, every_s=0, tensorboard=True, steps_done=done)
        for step in range(5):
            log.step(step / 5, 8, 1.0, 0.1)
        log.epoch(1, 1.0)
    first, second = Writer.made
    assert [step for name, step in first.points if name == "loss"] == [1, 2, 3, 4, 5]
    assert [step for name, step in second.points if name == "loss"] == [6, 7, 8, 9, 10]
    assert second.points[-1] == ("mean_loss", 10)
    assert (first.purge_step, second.purge_step) == (None, 6)


def test_each_line_is_json_with_the_time_left(tmp_path: Path) -> None:
    log = Progress(tmp_path, 4, every_s=0)
    for loss in (1.0, float("nan")):
        log.step(0.5, 8, loss, 0.1)

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    one, other = (json.loads(line, parse_constant=refuse) for line in lines)
    assert one.keys() == {"epoch", "loss", "lr", "images_per_s", "left_s"}
    assert one["left_s"] >= 0
    assert other["loss"] is None
