"""Writes the state that a killed training leaves after its first epoch."""

from pathlib import Path
from typing import Any

from train.atomic_save import save_atomically
from train.fit.loop import STATE_FILE, Task
from train.fit.training_state import samples_digest
from train.recipe import Recipe


def write_state(folder: Path, recipe: Recipe, of: Task | None) -> None:
    """`of`: what was trained on, whose digest is stored; `None` as older versions stored none."""
    state: dict[str, Any] = {"recipe": recipe.document(), "epochs_done": 1}
    digest = {} if of is None else {"samples": samples_digest(of.labels, of.samples, of.backgrounds)}
    save_atomically(folder / STATE_FILE, state | digest)
