"""Draws a gallery of images with their predictions and the attention laid over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from edge.image.resize import Pixels
from train.evaluation.images import EvaluationImages
from train.evaluation.plots import save, shortened
from train.model.network import normalised

_COLUMNS, _TILE_IN, _CAPTION_PT = 6, 2.1, 8
_RIGHT, _WRONG, _UNKNOWN = "#1b6e53", "#b3261e", "#555555"


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of the gallery."""

    pixels: Pixels
    """uint8[S, S, 3]: the network's input with the attention laid over it."""
    caption: str
    right: bool | None
    """Whether the prediction is right; `None` where the label is not known."""


def draw_gallery(tiles: Sequence[Tile], path: Path | BinaryIO, title: str) -> None:
    """Draw the tiles with two lines of caption above each; green is right, red is wrong."""
    rows = -(-len(tiles) // _COLUMNS)
    figure = Figure(figsize=(_TILE_IN * _COLUMNS, 2.6 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title if tiles else f"{title}: none", parse_math=False)
    for number in range(rows * _COLUMNS):
        axes = figure.add_subplot(rows, _COLUMNS, number + 1)
        axes.set_axis_off()
        if number < len(tiles):
            tile = tiles[number]
            axes.imshow(tile.pixels)
            colour = _UNKNOWN if tile.right is None else _RIGHT if tile.right else _WRONG
            lines = [shortened(line, _TILE_IN - 0.1, _CAPTION_PT) for line in tile.caption.split("\n")]
            axes.set_title("\n".join(lines), fontsize=_CAPTION_PT, color=colour, parse_math=False)
    save(figure, path, dpi=100)


def make_tiles(
    network: nn.Module, images: EvaluationImages, labels: Sequence[str], device: torch.device, temperature: float = 1.0
) -> list[Tile]:
    """A tile for each sample, in their order; the label of an unlabelled sample is empty."""
    tiles = []
    network.to(device).eval()
    for place, sample in enumerate(images.samples):
        with torch.inference_mode():
            outputs = network(normalised(images[place][None].to(device)))
        probabilities = torch.softmax(outputs.logits[0].float() / temperature, 0).cpu().numpy()
        best = int(probabilities.argmax())
        answer = f"{labels[best]} {probabilities[best]:.0%}"
        right = None if not sample.label else labels[best] == sample.label
        caption = answer if right is not False else f"{answer}\nis {sample.label}"
        attention = outputs.attention[0].float().cpu().numpy()
        tiles.append(Tile(overlay(images.pixels(place), attention), caption, right))
    return tiles


def overlay(pixels: Pixels, attention: NDArray[np.float32], strength: float = 0.45) -> Pixels:
    """uint8[S, S, 3]: the image with the sum of its attention maps float32[M, h, w] in warm colours."""
    heat = attention.sum(0)
    low, high = float(heat.min()), float(heat.max())
    heat = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    large = cv2.resize(heat, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = colormaps["inferno"](large)[..., :3] * 255
    weight = (strength * large)[..., None]
    return np.asarray(pixels * (1 - weight) + colours * weight, np.uint8)


def choose_for_gallery(
    right: NDArray[np.bool_], confidence: NDArray[np.float64], truth: NDArray[np.int64], count: int = 24
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(places of a representative selection, places of the worst mistakes).

    The selection takes as many samples of each label, evenly spread over their confidence. The worst mistakes are the
    most confident ones.
    """
    by_label = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    each = max(1, -(-count // max(1, len(by_label))))
    mix = []
    for places in by_label:
        order = places[np.argsort(-confidence[places], kind="stable")]
        mix += list(order[np.unique(np.linspace(0, len(order) - 1, min(each, len(order))).astype(int))])
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return np.array(mix[:count] if len(by_label) > count else mix, np.int64), worst
