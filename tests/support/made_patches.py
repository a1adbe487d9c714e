"""Small made images of three labels that a network can tell apart: a striped patch, a plain one, and none."""

import numpy as np

from edge.image.resize import Pixels
from edge.inference.card import Label
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind

SIDE_PX = 64
ZEBRA = Taxon("Equus quagga", "species", "zebra", "Mammalia", "Perissodactyla", "Equidae", "Equus", "Equus quagga")
LION = Taxon("Panthera leo", "species", "lion", "Mammalia", "Carnivora", "Felidae", "Panthera", "Panthera leo")
LABELS = (
    Label("zebra", Kind.ANIMAL, "zebra", ZEBRA),
    Label("lion", Kind.ANIMAL, "lion", LION),
    Label("blank", Kind.BLANK, "blank"),
)


def made_patch(label: str, random: np.random.Generator) -> Pixels:
    """uint8[SIDE_PX, SIDE_PX, 3]: noisy green; a striped patch on it is a zebra, a plain yellow one a lion."""
    image = np.full((SIDE_PX, SIDE_PX, 3), (60, 120, 60), np.float32) + random.normal(0, 12, (SIDE_PX, SIDE_PX, 3))
    if label != "blank":
        top, left = random.integers(0, SIDE_PX // 2, 2)
        patch = image[top : top + SIDE_PX // 2, left : left + SIDE_PX // 2]
        stripes = (np.arange(SIDE_PX // 2) // 4 % 2 * 200 + 30)[None, :, None]
        patch[:] = stripes if label == "zebra" else np.array([210, 170, 60])
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def made_patches(random: np.random.Generator, each: int) -> Pixels:
    """uint8[N, SIDE_PX, SIDE_PX, 3]: `each` images of every label, in the labels' order."""
    return np.stack([made_patch(label.name, random) for label in LABELS for _ in range(each)])
