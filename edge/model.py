"""The ONNX file: verify it, run it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.card import METADATA_KEY, Card, CardError
from edge.frame import Picture, Pixels, fit
from edge.prototypes import Prototypes

# From 1.32 on ONNX Runtime for Linux keeps a device id and a queue of usage events under ~/.cache, to be sent home. A
# box in a forest reports to its owner alone. Read once, when the runtime is loaded; its own call comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

STARTER = Path(__file__).parent / "models" / "starter.onnx"


class ModelError(RuntimeError):
    """A model that cannot be used, in one line."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the network says of a batch of N pictures."""

    logits: NDArray[np.float32]
    """float32[N, L]"""
    embedding: NDArray[np.float32] | None
    """float32[N, D], L2-normalised; `None` for adopted models that give none."""
    attention: NDArray[np.float32] | None
    """float32[N, M, h, w]: M part maps; `None` for adopted models that give none."""


class Model:
    """A verified model, ready to classify. Raises `ModelError` for a file that is not one."""

    def __init__(self, path: Path | str = STARTER, threads: int = 1) -> None:
        self.path = Path(path)
        self.sha256 = _verified_sha256(self.path)
        self._session = _open_session(self.path, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(
                f"{self.path}: the file carries no card; give it one with `python -m export adopt {self.path.name}`"
            )
        try:
            self.card = Card.from_json(text)
            self._prototypes = Prototypes(self.card) if self.card.enrolled else None
        except CardError as error:
            raise ModelError(f"{self.path}: {error}") from error
        self.blank_labels = np.array([label.kind == "blank" for label in self.card.labels])
        """bool[L]: which outputs stand for a blank."""
        biases = self.card.calibration.label_bias
        self.label_bias = np.array([biases.get(label.name, 0.0) for label in self.card.labels], np.float32)
        """float32[L], added to the logits."""
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def pixels(self, picture: Picture) -> Pixels:
        """The whole frame as the network's input, uint8[H, W, 3]."""
        return fit(picture.pixels, self.card.input_height_px, self.card.input_width_px, self.card.fit)

    def run(self, pixels: Pixels) -> Outputs:
        """Run the network on uint8[N, H, W, 3]."""
        named = self.outputs(pixels)
        logits, embedding = named["logits"], named.get("embedding")
        if self._prototypes is not None and embedding is not None:
            logits = self._prototypes.extend(logits, embedding)
        return Outputs(logits, embedding, named.get("attention"))

    def outputs(self, pixels: Pixels) -> dict[str, NDArray[np.float32]]:
        """Everything that the graph gives for uint8[N, H, W, 3], by name: what a detector's reader needs."""
        return dict(zip(self.output_names, self._session.run(None, {"pixels": pixels}), strict=True))


def classifier(path: Path | str = STARTER, threads: int = 1) -> Model:
    """A model that classifies. Raises `ModelError` for a detector as for a file that is no model."""
    model = Model(path, threads)
    if model.card.task != "classify":
        raise ModelError(f"{path}: its card says that it detects; give it to --detector")
    return model


def _verified_sha256(path: Path) -> str:
    """The file's SHA-256, compared with the .sha256 file beside it when there is one."""
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read ({error.strerror}); check the path") from error
    beside = path.with_name(path.name + ".sha256")
    if beside.exists():
        words = beside.read_text("utf-8", "replace").split()
        if not words or words[0].lower() != actual:
            raise ModelError(
                f"{path}: its SHA-256 is not the one in {beside.name}; it is damaged or was changed, copy it again"
            )
    return actual


def _open_session(path: Path, threads: int) -> Any:
    # Imported here: the runtime takes a tenth of a second to load, and `--version` needs none of it.
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads answer a little sooner and burn the battery while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # x86 without VNNI adds pairs of int8 products in 16 bits, which can overflow: ask for its exact kernels.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exception types share no public base
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({reason}); is it an ONNX model?") from error
