"""The log of a training: lines for people, JSON lines for programs, and TensorBoard events on request."""

import json
import math
import time
from pathlib import Path
from typing import Any

from train import TrainError, notice


class Progress:
    """Logs steps and epochs. Only the first process of a group owns one that writes."""

    def __init__(
        self, folder: Path | None, steps_left: int, every_s: float = 5.0, tensorboard: bool = False, steps_done: int = 0
    ) -> None:
        """`folder` gets `log.jsonl`, appended to; `None` logs nothing. `steps_done`: before this run was resumed."""
        self.file = None if folder is None else folder / "log.jsonl"
        self.steps_left, self.every_s, self.steps_done = steps_left, every_s, steps_done
        self.began = self.shown = time.monotonic()
        self.steps = self.images = 0
        self.writer: Any = None
        if folder is not None and tensorboard:
            # Events of steps that a killed run wrote, and that are repeated, are removed.
            first = steps_done + 1 if steps_done else None
            self.writer = summary_writer()(str(folder / "tensorboard"), purge_step=first)

    def step(self, epoch: float, images: int, loss: float, rate: float) -> None:
        """One optimiser step done; shown every few seconds."""
        self.steps += 1
        self.images += images
        self.steps_left -= 1
        now = time.monotonic()
        if self.file is None or (now - self.shown < self.every_s and self.steps > 1 and self.steps_left > 0):
            return
        self.shown = now
        spent = now - self.began
        speed, left_s = self.images / spent, self.steps_left * spent / self.steps
        self._write(
            {
                "epoch": round(epoch, 4),
                "loss": round(loss, 5) if math.isfinite(loss) else None,
                "lr": rate,
                "images_per_s": round(speed, 1),
                "left_s": round(left_s),
            }
        )
        notice(f"epoch {epoch:6.2f}  loss {loss:7.4f}  lr {rate:.2e}  {speed:6.1f} images/s  {_clock(left_s)} left")
        if self.writer is not None:
            self.writer.add_scalar("loss", loss, self.steps_done + self.steps)
            self.writer.add_scalar("lr", rate, self.steps_done + self.steps)

    def epoch(self, epoch: int, mean_loss: float) -> None:
        """One epoch done."""
        if self.file is None:
            return
        self._write({"epoch_done": epoch, "mean_loss": round(mean_loss, 6)})
        notice(f"epoch {epoch} done  mean_loss {mean_loss:.4f}")
        if self.writer is not None:
            self.writer.add_scalar("mean_loss", mean_loss, self.steps_done + self.steps)

    def _write(self, row: dict[str, Any]) -> None:
        assert self.file is not None
        with self.file.open("a", encoding="utf-8") as log:
            log.write(json.dumps(row, allow_nan=False) + "\n")


def summary_writer() -> Any:
    """TensorBoard's class. Raises `TrainError` where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainError(
            "--tensorboard needs the package tensorboard; pip install tensorboard, or leave the option out"
        ) from error
    return SummaryWriter


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
