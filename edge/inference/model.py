"""A model file: checks its SHA-256, reads its card and runs its network."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.host.named_file import read_named
from edge.host.one_line import one_line
from edge.image.decode import DecodedFrame
from edge.image.resize import Pixels, resize_to_input
from edge.inference.card import METADATA_KEY, Card, CardError
from edge.inference.graph_check import check_graph
from edge.inference.onnx_session import open_session
from edge.inference.prototypes import Prototypes

STARTER = Path(__file__).parents[1] / "models" / "starter.onnx"
MOST_BYTES = 1_000_000_000
_CHECKSUM_BYTES = 65_536
_EXTERNAL_WEIGHTS = b"\n\x08location"
"""How ONNX names the file of a weight that lies outside: the key `location` as protobuf writes it."""


class ModelError(RuntimeError):
    """A model file that cannot be used; one line with the fact and what to do next."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """The network's outputs for a batch of N images."""

    logits: NDArray[np.float32]
    """float32[N, L]"""
    embedding: NDArray[np.float32] | None
    """float32[N, D], L2-normalised; `None` for an adopted model without embeddings."""
    attention: NDArray[np.float32] | None
    """float32[N, M, h, w]: M attention maps; `None` for an adopted model without attention."""


class Model:
    """A verified model, ready to run. Raises `ModelError` for a file that is not one."""

    def __init__(self, path: Path | str = STARTER, threads: int = 1) -> None:
        self.path = Path(path)
        content = _content(self.path)
        self.size_bytes = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.has_checksum = _agrees_with_checksum(self.path, self.sha256)
        """Whether a .sha256 file beside the model says that it is undamaged."""
        self._session = _session(self.path, content, threads)
        del content
        try:
            text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            if text is None:
                raise ModelError(
                    f"{self.path}: the file has no model card; add one with `python -m export adopt {self.path.name}`"
                )
            self.card = Card.from_json(text)
            self._prototypes = Prototypes(self.card) if self.card.enrolled else None
            check_graph(self.card, self._session.get_inputs(), self._session.get_outputs())
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}: the model's card is not UTF-8 text; export the model again") from error
        except CardError as error:
            raise ModelError(f"{self.path}: {one_line(error, 400)}") from error
        self.blank_labels = np.array([label.kind == "blank" for label in self.card.labels])
        """bool[L]: the labels that stand for a blank."""
        biases = self.card.calibration.label_bias
        self.label_bias = np.array([biases.get(label.name, 0.0) for label in self.card.labels], np.float32)
        """float32[L], added to the logits."""
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def pixels(self, frame: DecodedFrame) -> Pixels:
        """The whole frame as the network's input, uint8[H, W, 3]."""
        return resize_to_input(frame.pixels, self.card.input_height_px, self.card.input_width_px, self.card.fit)

    def run(self, pixels: Pixels) -> Outputs:
        """Run the classifier on uint8[N, H, W, 3]; logits of enrolled species are added.

        Raises `ModelError` where the logits are not one number for each label.
        """
        named = self.outputs(pixels)
        logits, embedding = named["logits"], named.get("embedding")
        expected = (len(pixels), len(self.card.labels) - len(self.card.enrolled))
        # Of a label that cannot be, minus infinity is the logit.
        if logits.shape != expected or not np.isfinite(logits.max(axis=1)).all():
            raise ModelError(f"{self.path}: its logits for an image are not {expected[1]} numbers, one for each label")
        if self._prototypes is not None and embedding is not None:
            logits = self._prototypes.extend(logits, embedding)
        return Outputs(logits, embedding, named.get("attention"))

    def outputs(self, pixels: Pixels) -> dict[str, NDArray[np.float32]]:
        """All outputs of the graph for uint8[N, H, W, 3], by name; the detector reads its boxes from these."""
        return dict(zip(self.output_names, self._session.run(None, {"pixels": pixels}), strict=True))


def classifier(path: Path | str = STARTER, threads: int = 1) -> Model:
    """Open a model that classifies. Raises `ModelError` for a detector and for a file that is no model."""
    model = Model(path, threads)
    if model.card.task != "classify":
        raise ModelError(f"{path}: its card says that it detects; give it to --detector")
    return model


def _content(path: Path) -> bytes:
    try:
        content = read_named(path, MOST_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read ({error.strerror}); check the path") from error
    if _EXTERNAL_WEIGHTS in content:
        raise ModelError(f"{path}: its weights lie in other files; expected an ONNX model in one file")
    return content


def _agrees_with_checksum(path: Path, actual: str) -> bool:
    """Whether a .sha256 file lies beside the model. Raises `ModelError` where it is odd or of other content."""
    beside = path.with_name(path.name + ".sha256")
    if not os.path.lexists(beside):
        return False
    try:
        words = read_named(beside, _CHECKSUM_BYTES).decode("utf-8-sig", "replace").split()
    except OSError as error:
        raise ModelError(
            f"{path}: {beside.name} cannot be read ({error.strerror}); put it right, or remove it"
        ) from error
    if not words or not re.fullmatch(r"\\?[0-9a-fA-F]{64}", words[0]):
        raise ModelError(f"{path}: {beside.name} holds no SHA-256; expected what `sha256sum {path.name}` writes")
    if words[0].lstrip("\\").lower() != actual:
        raise ModelError(
            f"{path}: its SHA-256 is not the one in {beside.name}; it is damaged or was changed; copy it again"
        )
    return True


def _session(path: Path, content: bytes, threads: int) -> Any:
    try:
        if content[4:8] == b"ORTM":
            raise ValueError("it is of ONNX Runtime's own format")
        return open_session(content, threads)
    except Exception as error:  # the runtime's own exception types share no public base
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({one_line(error)}); expected an ONNX model") from error
