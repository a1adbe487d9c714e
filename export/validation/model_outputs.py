"""A model's raw outputs on labelled frames: the whole frame and its attention crop, cut as the device cuts them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.image.box import Box
from edge.inference.attention_crop import attention_crops, combine, crop_pixels, decode_side_px, needs_crop
from edge.inference.card import Calibration, Card
from edge.inference.model import Model
from edge.inference.probabilities import FloatArray, log_softmax
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame

BATCH = 8


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """Raw logits of N frames."""

    whole: FloatArray
    """float32[N, L], of the whole frames."""
    crop: FloatArray | None
    """float32[N, L], of the attention crops; `None` for a model without attention."""
    crop_boxes: tuple[Box | None, ...]
    """Where each frame's attention crop lies."""
    scaled: bool = False
    """Whether any of the frames was decoded at less than its full size."""

    def under(self, card: Card, fitted: Calibration) -> FloatArray:
        """float32[N, L] log-probabilities as the device computes them under a calibration `fitted` for the card's
        model.
        """
        bias, plan = bias_array(card, fitted.label_bias), fitted.second_look
        whole = log_softmax(self.whole + bias, fitted.temperature)
        if plan is None or self.crop is None:
            return whole
        crop = log_softmax(self.crop + bias, fitted.temperature)
        combined = whole.copy()
        for place in needs_crop(plan, whole, [None] * len(whole)):
            combined[place] = combine(whole[place], crop[place], plan, blank_labels(card))
        return combined

    def at(self, places: NDArray[np.intp]) -> "ModelOutputs":
        """The outputs on the frames at these places."""
        crop = None if self.crop is None else self.crop[places]
        return ModelOutputs(self.whole[places], crop, tuple(self.crop_boxes[place] for place in places), self.scaled)


def bias_array(card: Card, bias: dict[str, float]) -> FloatArray:
    """float32[L] in the order of the labels."""
    return np.array([bias.get(label.name, 0.0) for label in card.labels], np.float32)


def blank_labels(card: Card) -> NDArray[np.bool_]:
    """bool[L]: which labels stand for a blank."""
    return np.array([label.kind == Kind.BLANK for label in card.labels])


def take_outputs(
    model: Model, frames: Sequence[LabelledFrame], crop_fraction: float, full_size: bool = False
) -> ModelOutputs:
    """Run the model on all whole frames and on all attention crops.

    The crop's side is `crop_fraction` of the frame's shorter side. Frames are decoded at the device's scale, or at
    `full_size`.
    """
    side_px = None if full_size else decode_side_px(model.card, crop_fraction)
    whole, crops, boxes, scaled = [], [], [], False
    for start in range(0, len(frames), BATCH):
        images = [frame.decoded(side_px) for frame in frames[start : start + BATCH]]
        scaled = scaled or any(image.pixels.shape[0] < image.height_px for image in images)
        outputs = model.run(np.stack([model.pixels(image) for image in images]))
        whole.append(outputs.logits)
        found = attention_crops(outputs.attention, [(i.height_px, i.width_px) for i in images], crop_fraction)
        boxes += found
        if outputs.attention is not None:
            inputs = [crop_pixels(model.card, image, box) for image, box in zip(images, found, strict=True)]
            crops.append(model.run(np.stack(inputs)).logits)
    return ModelOutputs(np.concatenate(whole), np.concatenate(crops) if crops else None, tuple(boxes), scaled)


def take_renderings(model: Model, frames: Sequence[LabelledFrame], crop_fraction: float) -> tuple[ModelOutputs, ...]:
    """The outputs on the frames as the device decodes them and, where it scales any of them down, at full size too."""
    own = take_outputs(model, frames, crop_fraction)
    return (own, take_outputs(model, frames, crop_fraction, full_size=True)) if own.scaled else (own,)


def calibration_pixels(model: Model, frames: Sequence[LabelledFrame], crop_fraction: float) -> NDArray[np.uint8]:
    """uint8[M, H, W, 3]: what the network sees of these frames on the device, whole frames and attention crops."""
    inputs = []
    for frame in frames:
        image = frame.decoded(decode_side_px(model.card, crop_fraction))
        inputs.append(model.pixels(image))
        attention = model.run(inputs[-1][None]).attention
        box = attention_crops(attention, [(image.height_px, image.width_px)], crop_fraction)[0]
        if box is not None:
            inputs.append(crop_pixels(model.card, image, box))
    return np.stack(inputs)
