"""A model's raw answers to labelled frames, first and second look, through the edge's own pipeline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.card import SecondLook
from edge.look import Box, attention_regions, combine, log_probabilities, region_pixels
from edge.model import Model
from export.scenes import Scene

BATCH = 8
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Looks:
    """Raw logits of N frames."""

    first: FloatArray
    """float32[N, L]"""
    second: FloatArray | None
    """float32[N, L], of the region around the attention's peak; `None` for a model without attention."""
    regions: tuple[Box | None, ...]

    def calibrated(
        self, bias: FloatArray, temperature: float, plan: SecondLook | None, blank: NDArray[np.bool_]
    ) -> FloatArray:
        """float32[N, L] log-probabilities as `edge.look.look` gives them."""
        first = log_probabilities(self.first + bias, temperature)
        if plan is None or self.second is None:
            return first
        second = log_probabilities(self.second + bias, temperature)
        again = first.max(axis=1) < np.log(plan.unless_above)
        return np.stack(
            [combine(a, b, plan, blank) if look else a for a, b, look in zip(first, second, again, strict=True)]
        )

    def at(self, places: NDArray[np.intp]) -> "Looks":
        """Those frames alone."""
        second = None if self.second is None else self.second[places]
        return Looks(self.first[places], second, tuple(self.regions[place] for place in places))


def take_looks(model: Model, scenes: Sequence[Scene], fraction: float) -> Looks:
    """Run both looks over all scenes; the region's side is `fraction` of the shorter side."""
    side = max(model.card.input_height_px, model.card.input_width_px)
    first, second, regions = [], [], []
    for start in range(0, len(scenes), BATCH):
        pictures = [scene.picture(int(np.ceil(side / fraction))) for scene in scenes[start : start + BATCH]]
        outputs = model.run(np.stack([model.pixels(picture) for picture in pictures]))
        first.append(outputs.logits)
        shapes = [(picture.height_px, picture.width_px) for picture in pictures]
        found = attention_regions(outputs.attention, shapes, fraction)
        regions += found
        if outputs.attention is not None:
            parts = [region_pixels(model, picture, box) for picture, box in zip(pictures, found, strict=True)]
            second.append(model.run(np.stack(parts)).logits)
    return Looks(np.concatenate(first), np.concatenate(second) if second else None, tuple(regions))


def calibration_pixels(model: Model, scenes: Sequence[Scene], fraction: float) -> NDArray[np.uint8]:
    """uint8[M, H, W, 3]: what the network is shown on the device for these scenes, whole frames and regions."""
    return np.stack(list(_inputs(model, scenes, fraction)))


def _inputs(model: Model, scenes: Sequence[Scene], fraction: float) -> Iterator[NDArray[np.uint8]]:
    side = max(model.card.input_height_px, model.card.input_width_px)
    for scene in scenes:
        picture = scene.picture(int(np.ceil(side / fraction)))
        whole = model.pixels(picture)
        yield whole
        attention = model.run(whole[None]).attention
        box = attention_regions(attention, [(picture.height_px, picture.width_px)], fraction)[0]
        if box is not None:
            yield region_pixels(model, picture, box)
