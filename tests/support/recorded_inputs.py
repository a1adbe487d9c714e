"""Records what a model of the device is given to classify."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.inference.model import Model, Outputs


def record_inputs(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.uint8]]:
    """The list that each batch uint8[N, H, W, 3] is added to when the model runs."""
    batches: list[NDArray[np.uint8]] = []
    run = model.run

    def recorded(pixels: NDArray[np.uint8]) -> Outputs:
        batches.append(pixels)
        return run(pixels)

    monkeypatch.setattr(model, "run", recorded)
    return batches
