"""Fixtures for every test: a small real model, and the real frames where they lie beside the checkout."""

import hashlib
from pathlib import Path

import pytest

from tests.support.places import field_frame_paths
from tests.support.tiny_model import check, write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A carded ONNX model of a few kilobytes (32 px; logits, embedding, attention) with its .sha256 beside it."""
    path = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
    check(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("tiny.onnx.sha256").write_text(f"{digest}  tiny.onnx\n", "ascii")
    return path


@pytest.fixture(scope="session")
def other_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the same labels and other weights."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "other.onnx", seed=1)


@pytest.fixture(scope="session")
def field_frames() -> list[Path]:
    """Real camera-trap frames, in name order; the test is skipped where they are not beside the checkout."""
    frames = field_frame_paths()
    if not frames:
        pytest.skip("no real frames in ../shared/data/field")
    return frames
