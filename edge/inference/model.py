"""A model file: checks its SHA-256, reads its card and runs its network."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.image.decode import DecodedFrame
from edge.image.resize import Pixels, resize_to_input
from edge.inference.card import METADATA_KEY, Card, CardError
from edge.inference.onnx_session import open_session
from edge.inference.prototypes import Prototypes

STARTER = Path(__file__).parents[1] / "models" / "starter.onnx"


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
        self.sha256 = _verified_sha256(self.path)
        self._session = _session(self.path, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{self.path}: the file has no model card; add one with `python -m export adopt {self.path.name}`"
            )
        try:
            self.card = Card.from_json(text)
            self._prototypes = Prototypes(self.card) if self.card.enrolled else None
        except CardError as error:
            raise ModelError(f"{self.path}: {error}") from error
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
        """Run the classifier on uint8[N, H, W, 3]; logits of enrolled species are added."""
        named = self.outputs(pixels)
        logits, embedding = named["logits"], named.get("embedding")
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


def _verified_sha256(path: Path) -> str:
    """The file's SHA-256, compared with the .sha256 file beside it where there is one."""
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read ({error.strerror}); check the path") from error
    beside = path.with_name(path.name + ".sha256")
    if beside.exists():
        words = beside.read_text("utf-8-sig", "replace").split()
        if not words or words[0].lower() != actual:
            raise ModelError(
                f"{path}: its SHA-256 is not the one in {beside.name}; it is damaged or was changed; copy it again"
            )
    return actual


def _session(path: Path, threads: int) -> Any:
    try:
        return open_session(path, threads)
    except Exception as error:  # the runtime's own exception types share no public base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason}); expected an ONNX model") from error
