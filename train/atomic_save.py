"""Saves tensors and settings to a file that is there whole or as it was before, whatever interrupts the program."""

import errno
import os
from pathlib import Path
from typing import Any

import torch


def save_atomically(path: Path, document: dict[str, Any]) -> None:
    """Write `document` with `torch.save`, through a temporary file beside `path`. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}")  # always the same name: the next save replaces what a kill left behind
    try:
        with temporary.open("wb") as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):  # torch turns the error of a full disk into this one
            raise OSError(errno.EIO, str(error).partition("\n")[0]) from error
        raise
