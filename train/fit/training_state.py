"""Reads the state that a training saved after its last epoch, and checks that it is the same training that goes on."""

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from train import TrainError
from train.data.sample import Sample


def samples_digest(labels: Sequence[str], samples: Sequence[Sample], backgrounds: Sequence[Sample]) -> str:
    """Hexadecimal digest of the names of a training's samples, so that the data may be moved before it goes on."""
    facts = [list(labels), [(sample.name, sample.label) for sample in samples], [sample.name for sample in backgrounds]]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def load_state(path: Path, recipe: dict[str, Any], samples: str) -> dict[str, Any] | None:
    """The state, or `None` when there is none yet.

    Raises `TrainError` when it was written by another recipe, or was trained on other samples than those of the digest
    `samples`.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        of_recipe = state["recipe"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise TrainError(f"{path} is damaged ({type(error).__name__}); remove it to start again") from error
    if of_recipe != recipe:
        raise TrainError(f"{path} was written by another recipe; resume with that one, or give a new --out")
    # States of earlier versions hold no digest: their samples are not known.
    if state.get("samples", samples) != samples:
        raise TrainError(
            f"{path} was trained on other samples; resume with the same --data, --fold (or --all-data), --skip-bad and "
            "--backgrounds, or give a new --out"
        )
    return state
