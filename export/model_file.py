"""Puts the card into the model and writes the file completely or not at all."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from onnx import helper

import edge
from edge.host.output_file import Guard
from edge.inference.card import METADATA_KEY, Card
from edge.inference.model import Model
from export import ExportError

_ANY = Guard(force=True)
TOOLS = ("torch", "timm", "onnx", "onnxruntime")


def toolchain() -> dict[str, str]:
    """Versions of the software that makes the file."""
    return {"edge-classify": edge.__version__} | {name: version(name) for name in TOOLS}


def carded(model: onnx.ModelProto, card: Card) -> bytes:
    """The content of the model file; the same model and card always give the same bytes."""
    copy = deepcopy(model)
    del copy.metadata_props[:]
    helper.set_model_props(copy, {METADATA_KEY: card.to_json()})
    return bytes(copy.SerializeToString(deterministic=True))


@contextmanager
def opened(model: onnx.ModelProto, card: Card, threads: int = 2) -> Iterator[Model]:
    """Open the model as the device does, from a temporary file."""
    with tempfile.TemporaryDirectory(prefix="edge-classify-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(carded(model, card))
        yield Model(path, threads)


def is_model(file: BinaryIO) -> bool:
    """Whether a file is a model with a card inside."""
    try:
        found = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError, OSError):
        return False
    return any(property_.key == METADATA_KEY for property_ in found.metadata_props)


def _is_sum(file: BinaryIO) -> bool:
    return re.match(rb"[0-9a-f]{64}  ", file.readline(256)) is not None


def check_writable(path: Path, guard: Guard) -> None:
    """Raise `ExportError` or `OutputError` before hours of work where `path` cannot or must not be written."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder; --out names the file to write, such as {path / 'model.onnx'}")
    try:
        guard.check(path, is_model)
        guard.check(_sum_beside(path), _is_sum)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def write(path: Path, content: bytes, guard: Guard = _ANY) -> str:
    """Write `path` and `path`.sha256 (sha256sum's format), each completely or not at all; returns the SHA-256.

    The old .sha256 is removed first, so that a model never lies beside the sum of another one.
    """
    digest = hashlib.sha256(content).hexdigest()
    beside = _sum_beside(path)
    with guard.replacing(beside, _is_sum) as sums:
        sums.write(f"{digest}  {path.name}\n".encode())
        sums.flush()
        with guard.replacing(path, is_model) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            beside.unlink(missing_ok=True)
    return digest


def _sum_beside(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
