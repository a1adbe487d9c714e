"""The state of a training after an epoch: written whole or not at all, so that kill -9 costs one epoch at most."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from train import TrainError


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Atomically: the file is the former state or this one."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_state(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """The state, or `None` when there is none yet. Raises `TrainError` when it is another recipe's."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        raise TrainError(f"{path} was written by another recipe; resume with that one, or give a new --out")
    return state
