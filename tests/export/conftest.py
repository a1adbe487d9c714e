"""A small network that tells made patches apart, and a folder of labelled ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.made_patches import LABELS, SIDE_PX, made_patch, made_patches
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.recipe import NetworkSpec

COUNT = 16


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled images with a manifest."""
    folder = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(0)
    rows = ["path,label,event"]
    for label in LABELS:
        for number in range(COUNT):
            name = f"{label.name}-{number:02}.png"
            cv2.imwrite(str(folder / name), made_patch(label.name, random)[:, :, ::-1])
            rows.append(f"{name},{label.name},{label.name}-{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """An untrained backbone whose classifier is fitted to images of the same kind as `frames`."""
    torch.manual_seed(0)
    spec = NetworkSpec("test_resnet", blank=2)
    network = Network(spec, len(LABELS)).eval()
    for module in network.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # timm begins with blocks that add nothing
    images = made_patches(np.random.default_rng(1), 60)
    truth = np.repeat(np.arange(len(LABELS)), 60)
    with torch.no_grad():
        pixels = torch.from_numpy((images.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
        features = network.backbone(pixels).mean((2, 3)).double()
        columns = torch.cat([features, torch.ones(len(features), 1).double()], 1)
        ridge = columns.T @ columns + 1e-6 * torch.eye(columns.shape[1]).double() * columns.pow(2).mean()
        wanted = torch.nn.functional.one_hot(torch.from_numpy(truth)).double() * 8
        solution = torch.linalg.solve(ridge, columns.T @ wanted).float()
        network.head.weight.copy_(solution[:-1].T)
        assert isinstance(network.head.bias, torch.Tensor)
        network.head.bias.copy_(solution[-1])
    state, data = network.state_dict(), "made images"
    return Checkpoint("made", "1", "2026-01-01T00:00:00Z", spec, state, LABELS, SIDE_PX, SIDE_PX, data=data)


@pytest.fixture(scope="session")
def checkpoint_file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "made.pt"
    checkpoint.save(path)
    return path
