"""A model's raw answers to labelled frames, first and second look, through the edge's own pipeline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.inference.attention_crop import attention_crops, combine, crop_pixels, needs_crop
from edge.inference.card import Calibration, Card, SecondCrop
from edge.inference.model import Model
from edge.inference.probabilities import FloatArray, log_softmax
from export.validation.labelled_frames import LabelledFrame

BATCH = 8


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """Raw logits of N frames."""

    first: FloatArray
    """float32[N, L]"""
    second: FloatArray | None
    """float32[N, L], of the region around the attention's peak; `None` for a model without attention."""
    regions: tuple[Box | None, ...]

    def calibrated(
        self, bias: FloatArray, temperature: float, plan: SecondCrop | None, blank: NDArray[np.bool_]
    ) -> FloatArray:
        """float32[N, L] log-probabilities as `edge.inference.attention_crop.look` gives them."""
        first = log_softmax(self.first + bias, temperature)
        if plan is None or self.second is None:
            return first
        second = log_softmax(self.second + bias, temperature)
        combined = first.copy()
        for i in needs_crop(plan, first, [None] * len(first)):
            combined[i] = combine(first[i], second[i], plan, blank)
        return combined

    def under(self, card: Card, fitted: Calibration) -> FloatArray:
        """float32[N, L] log-probabilities with what was `fitted` for the model of the card."""
        blank = np.array([label.kind == "blank" for label in card.labels])
        return self.calibrated(bias_array(card, fitted.label_bias), fitted.temperature, fitted.second_look, blank)

    def at(self, places: NDArray[np.intp]) -> "ModelOutputs":
        """Those frames alone."""
        second = None if self.second is None else self.second[places]
        return ModelOutputs(self.first[places], second, tuple(self.regions[place] for place in places))


def bias_array(card: Card, bias: dict[str, float]) -> FloatArray:
    """float32[L] in the order of the labels."""
    return np.array([bias.get(label.name, 0.0) for label in card.labels], np.float32)


def take_outputs(model: Model, scenes: Sequence[LabelledFrame], fraction: float, in_full: bool = False) -> ModelOutputs:
    """Run both looks over all scenes; the region's side is `fraction` of the shorter side.

    Frames are decoded at the device's scale, or every pixel of them.
    """
    side_px = None if in_full else _side_px(model, fraction)
    first, second, regions = [], [], []
    for start in range(0, len(scenes), BATCH):
        pictures = [scene.picture(side_px) for scene in scenes[start : start + BATCH]]
        outputs = model.run(np.stack([model.pixels(picture) for picture in pictures]))
        first.append(outputs.logits)
        shapes = [(picture.height_px, picture.width_px) for picture in pictures]
        found = attention_crops(outputs.attention, shapes, fraction)
        regions += found
        if outputs.attention is not None:
            parts = [crop_pixels(model.card, picture, box) for picture, box in zip(pictures, found, strict=True)]
            second.append(model.run(np.stack(parts)).logits)
    return ModelOutputs(np.concatenate(first), np.concatenate(second) if second else None, tuple(regions))


def is_scaled(model: Model, scenes: Sequence[LabelledFrame], fraction: float) -> bool:
    """Whether the device decodes any of the scenes at less than its own size."""
    pictures = (scene.picture(_side_px(model, fraction)) for scene in scenes)
    return any(picture.pixels.shape[0] < picture.height_px for picture in pictures)


def calibration_pixels(model: Model, scenes: Sequence[LabelledFrame], fraction: float) -> NDArray[np.uint8]:
    """uint8[M, H, W, 3]: what the network is shown on the device for these scenes, whole frames and regions."""
    return np.stack(list(_inputs(model, scenes, fraction)))


def _inputs(model: Model, scenes: Sequence[LabelledFrame], fraction: float) -> Iterator[NDArray[np.uint8]]:
    for scene in scenes:
        picture = scene.picture(_side_px(model, fraction))
        whole = model.pixels(picture)
        yield whole
        attention = model.run(whole[None]).attention
        box = attention_crops(attention, [(picture.height_px, picture.width_px)], fraction)[0]
        if box is not None:
            yield crop_pixels(model.card, picture, box)


def _side_px(model: Model, fraction: float) -> int:
    """As `edge.inference.attention_crop.decode_side_px`, for a second look that is still to be planned."""
    return int(np.ceil(max(model.card.input_height_px, model.card.input_width_px) / fraction))
