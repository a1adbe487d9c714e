"""Whether the float ONNX graph gives the same probabilities as the PyTorch network that it was traced from."""

from collections.abc import Sequence

import numpy as np
import torch

from edge.inference.model import Model
from edge.inference.probabilities import log_softmax
from export import ExportError
from export.validation.labelled_frames import LabelledFrame
from train.model.checkpoint import Checkpoint
from train.model.network import normalised

LIMIT = 1e-4
FRAMES = 16


def check_parity(checkpoint: Checkpoint, model: Model, frames: Sequence[LabelledFrame]) -> float:
    """Largest difference of a probability on some of the frames. Raises `ExportError` when it is above the limit."""
    images = [frame.decoded(checkpoint.input_height_px) for frame in frames[:: max(1, len(frames) // FRAMES)]]
    pixels = np.stack([model.pixels(image) for image in images])
    with torch.inference_mode():
        expected = checkpoint.build_network()(normalised(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))).logits.numpy()
    difference = float(np.abs(np.exp(log_softmax(expected)) - np.exp(log_softmax(model.run(pixels).logits))).max())
    if not difference < LIMIT:
        raise ExportError(
            f"the ONNX graph's probabilities differ from PyTorch's by {difference:.1e}, the limit is {LIMIT}; "
            "this network cannot be exported faithfully, choose another backbone"
        )
    return difference
