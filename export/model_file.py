"""Puts the card into the model and writes the file completely or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path

import onnx
from onnx import helper

import edge
from edge.inference.card import METADATA_KEY, Card
from edge.inference.model import Model
from export import ExportError

TOOLS = ("torch", "timm", "onnx", "onnxruntime")


def toolchain() -> dict[str, str]:
    """Versions of the software that makes the file."""
    return {"edge-classify": edge.__version__} | {name: version(name) for name in TOOLS}


def carded(model: onnx.ModelProto, card: Card) -> bytes:
    """The content of the model file; the same model and card always give the same bytes."""
    copy = deepcopy(model)
    del copy.metadata_props[:]
    helper.set_model_props(copy, {METADATA_KEY: card.to_json()})
    content: bytes = copy.SerializeToString(deterministic=True)
    return content


@contextmanager
def opened(model: onnx.ModelProto, card: Card, threads: int = 2) -> Iterator[Model]:
    """Open the model as the device does, from a temporary file."""
    with tempfile.TemporaryDirectory(prefix="edge-classify-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(carded(model, card))
        yield Model(path, threads)


def check_writable(path: Path) -> None:
    """Raise `ExportError` before hours of work where `path` cannot be written."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder; --out names the file to write, such as {path / 'model.onnx'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another --out") from error
    os.close(handle)
    Path(name).unlink()


def write(path: Path, content: bytes) -> str:
    """Write `path` and `path`.sha256 (sha256sum's format), each completely or not at all; returns the SHA-256.

    The old .sha256 is removed first, so that a model never lies beside the sum of another one.
    """
    digest = hashlib.sha256(content).hexdigest()
    beside = path.with_name(path.name + ".sha256")
    parts: list[tuple[Path, Path]] = []
    try:
        for target, data in ((path, content), (beside, f"{digest}  {path.name}\n".encode())):
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=path.parent)
            parts.append((Path(name), target))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
        beside.unlink(missing_ok=True)
        for temporary, target in parts:
            temporary.replace(target)
        _sync_folder(path.parent)
    except OSError as error:
        raise ExportError(
            f"{path} was not written: {error.strerror or error}; free some space or choose another --out"
        ) from error
    finally:
        for temporary, _ in parts:
            temporary.unlink(missing_ok=True)
    return digest


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
