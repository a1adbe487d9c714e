"""A small network that tells made pictures apart, and the pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge.inference.card import Label
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind
from train.model.checkpoint import Checkpoint
from train.model.network import build
from train.recipe import NetworkSpec

SIDE_PX = 64
COUNT = 16
LABELS = (
    Label(
        "zebra",
        Kind.ANIMAL,
        "zebra",
        Taxon("Equus quagga", "species", "zebra", "Mammalia", "Perissodactyla", "Equidae", "Equus", "Equus quagga"),
    ),
    Label(
        "lion",
        Kind.ANIMAL,
        "lion",
        Taxon("Panthera leo", "species", "lion", "Mammalia", "Carnivora", "Felidae", "Panthera", "Panthera leo"),
    ),
    Label("blank", Kind.BLANK, "blank"),
)


def made_picture(label: str, random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8[SIDE_PX, SIDE_PX, 3]: noisy green; a striped patch on it is a zebra, a plain yellow one a lion."""
    picture = np.full((SIDE_PX, SIDE_PX, 3), (60, 120, 60), np.float32) + random.normal(0, 12, (SIDE_PX, SIDE_PX, 3))
    if label != "blank":
        top, left = random.integers(0, SIDE_PX // 2, 2)
        patch = picture[top : top + SIDE_PX // 2, left : left + SIDE_PX // 2]
        stripes = (np.arange(SIDE_PX // 2) // 4 % 2 * 200 + 30)[None, :, None]
        patch[:] = stripes if label == "zebra" else np.array([210, 170, 60])
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled pictures with a manifest."""
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    rows = ["path,label,event"]
    for label in LABELS:
        for number in range(COUNT):
            name = f"{label.name}-{number:02}.png"
            cv2.imwrite(str(folder / name), made_picture(label.name, random)[:, :, ::-1])
            rows.append(f"{name},{label.name},{label.name}-{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """An untrained backbone whose classifier is fitted to pictures of the same kind as `frames`."""
    torch.manual_seed(0)
    spec = NetworkSpec("test_resnet", blank=2)
    network = build(spec, len(LABELS)).eval()
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # timm begins with blocks that add nothing
    random = np.random.default_rng(1)
    pictures = np.stack([made_picture(label.name, random) for label in LABELS for _ in range(60)])
    truth = np.repeat(np.arange(len(LABELS)), 60)
    with torch.no_grad():
        pixels = torch.from_numpy((pictures.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        features = network.backbone(pixels).mean((2, 3)).double()
        columns = torch.cat([features, torch.ones(len(features), 1).double()], 1)
        ridge = columns.T @ columns + 1e-6 * torch.eye(columns.shape[1]).double() * columns.pow(2).mean()
        wanted = torch.nn.functional.one_hot(torch.from_numpy(truth)).double() * 8
        solution = torch.linalg.solve(ridge, columns.T @ wanted).float()
        network.head.weight.copy_(solution[:-1].T)
        assert isinstance(network.head.bias, torch.Tensor)
        network.head.bias.copy_(solution[-1])
    made = ("made", "1", "2026-01-01T00:00:00Z")
    return Checkpoint(*made, spec, network.state_dict(), LABELS, SIDE_PX, SIDE_PX, data="made pictures")


@pytest.fixture(scope="session")
def checkpoint_file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "made.pt"
    checkpoint.save(path)
    return path
