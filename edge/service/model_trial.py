"""Trial of a model before it is used, within limits of time and memory.

A model that is to replace the one in use is tried in a process of its own: what crashes, hangs or eats memory there
leaves the old one at work. Run as a module, this is that process: it takes its settings (pickled) and says in one line
of JSON whose SHA-256 it tried, or what is wrong.
"""

import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge.database.frame_files import FrameContent, FrameFiles
from edge.database.schema import SchemaError, open_database
from edge.host.limits import limited_memory, limited_time
from edge.host.one_line import one_line
from edge.inference.decision import Decider
from edge.inference.detector import Detector
from edge.inference.model import STARTER, Model, ModelError
from edge.inference.predictor import Models
from edge.service.model_reload import check_detector, check_models, choose_models, load_models
from edge.settings.options import Settings
from edge.settings.strict_toml import SettingsError

TEST_FRAMES = 8
LEAST_S, S_PER_MB = 10.0, 1.0
"""How long a model may take to load, or for one image: a Raspberry Pi 3 needs a tenth of it."""
LEAST_BYTES, BYTES_PER_BYTE = 600_000_000, 10
"""How much memory a model may take: activations of large images, and copies of its weights."""
_BROKEN_OFF = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial found."""

    sha256: str = ""
    """Of the models that passed; empty where they did not."""
    problem: str = ""
    """What is wrong, in one line."""


class ModelTrial:
    """Tries the models that settings name on the frames that were classified last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = msgspec.structs.replace(settings, deployments=(), sources=())
        command = [sys.executable, "-m", "edge.service.model_trial"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._child.stdin is not None
        with suppress(BrokenPipeError), self._child.stdin as asked:
            pickle.dump(self._settings, asked)

    def verdict(self) -> Verdict | None:
        """What the trial found; `None` while it goes on."""
        if (code := self._child.poll()) is None:
            return None
        assert self._child.stdout is not None
        with self._child.stdout as said:
            text = said.read()
        if text:
            return Verdict(**json.loads(text))
        if -code in _BROKEN_OFF:
            return Verdict(problem="its trial was broken off; send SIGHUP to try it again")
        what = f"ends the process that tries it ({signal.Signals(-code).name})" if code < 0 else "takes too long"
        return Verdict(problem=f"{settings_model(self._settings)}: it {what}")

    def close(self) -> None:
        """Break the trial off."""
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def settings_model(settings: Settings) -> Path:
    """The classifier's file."""
    return settings.model or STARTER


def load_tried_models(command: str, settings: Settings) -> Models:
    """As `choose_models`, and tried on an image; a model that hangs ends this process with a line."""
    with _limits(command, 2, settings_model(settings), settings.detector):
        models = choose_models(settings)
        check_models(models, (), made=1)
    return models


def load_tried_model(command: str, path: Path, run: bool = True) -> Model:
    """A classifier or a detector, loaded within limits and (`run`) tried on an image. Raises `ModelError`."""
    with _limits(command, 1 if run else 2, path):
        model = Model(path)
        if run and model.card.task == "detect":
            check_detector(Detector(path))
        elif run:
            check_models(Models(model, Decider(model.card)), (), made=1)
    return model


@contextmanager
def _limits(command: str, exit_code: int, *paths: Path | None) -> Iterator[None]:
    seconds, more_bytes = _limits_of(*paths)

    def give_up() -> None:
        problem = f"{command}: {paths[0]}: given up: it takes more than {seconds:.0f} s to load and to try the model"
        os.write(2, f"{one_line(problem, 400)}\n".encode())
        os._exit(exit_code)

    try:
        with limited_memory(more_bytes), limited_time(seconds, give_up):
            yield
    except MemoryError as error:
        raise ModelError(f"{paths[0]}: it takes more than {more_bytes / 1e6:.0f} MB of memory") from error


def _limits_of(*paths: Path | None) -> tuple[float, int]:
    """Seconds for each step, and bytes, by the size of the files."""
    size = 0
    for path in paths:
        with suppress(OSError):
            size += 0 if path is None else os.stat(path).st_size
    size = min(size, 2**31)
    return LEAST_S + S_PER_MB * size / 1e6, LEAST_BYTES + BYTES_PER_BYTE * size


def _try(settings: Settings, next_step: Callable[[], None]) -> Verdict:
    file = settings_model(settings)
    _, more_bytes = _limits_of(file, settings.detector)
    try:
        with limited_memory(more_bytes):
            models = load_models(settings)
            check_models(models, _newest_frames(settings.db), next_step=next_step)
    except (ModelError, SettingsError) as error:
        return Verdict(problem=one_line(error, 400))
    except MemoryError:
        return Verdict(problem=f"{file}: it takes more than {more_bytes / 1e6:.0f} MB of memory")
    except Exception as error:  # whatever is wrong with a model, it is refused
        return Verdict(problem=f"{file}: {type(error).__name__}: {one_line(error)}")
    return Verdict(sha256=models.sha256)


def _newest_frames(database: Path) -> Iterator[FrameContent]:
    """Frames to try a model on; what is wrong with the database is not the model's fault."""
    with (
        suppress(sqlite3.Error, SchemaError),
        closing(open_database(database, read_only=True)) as connection,
    ):
        yield from FrameFiles(connection).newest(TEST_FRAMES)


def main() -> int:
    """The process of a trial; a step that takes too long ends it without a word."""
    settings = pickle.load(sys.stdin.buffer)
    seconds, _ = _limits_of(settings_model(settings), settings.detector)
    with limited_time(seconds, lambda: os._exit(1)) as next_step:
        verdict = _try(settings, next_step)
    print(json.dumps({"sha256": verdict.sha256, "problem": verdict.problem}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
