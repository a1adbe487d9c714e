"""The ONNX graph of every backbone in the manual gives the same outputs as PyTorch, attention included."""

import os

import numpy as np
import onnxruntime
import pytest
import torch

from export.graph import float_graph
from tests.support.backbones import BACKBONES
from train.data.taxa_table import card_labels
from train.model.checkpoint import Checkpoint
from train.model.network import Network, normalised
from train.recipe import NetworkSpec

PARTS = NetworkSpec("test_efficientnet", "parts", parts=3, embedding_dim=8, head="metric")
SPECS = [
    pytest.param(PARTS, id="parts"),
    pytest.param(NetworkSpec("test_vit"), id="average"),
    *(
        pytest.param(
            NetworkSpec(backbone, "attention"),
            id=backbone,
            marks=pytest.mark.skipif(
                os.environ.get("BACKBONES") != "all" and backbone not in ("resnet18", "vit_tiny_patch16_224"),
                reason="all of them take minutes: BACKBONES=all pytest tests/export/quantization/test_backbones.py",
            ),
        )
        for backbone in BACKBONES
    ),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_graph_gives_the_outputs_of_pytorch(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    size_px = BACKBONES.get(spec.backbone, 64)
    network = Network(spec, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3)).astype(np.uint8)
    images = normalised(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.out_channels == 1:
            torch.nn.init.normal_(module.weight, std=0.1)  # attention maps begin constant, which would prove nothing
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # this batch's own statistics: with the initial ones deep features vanish
    with torch.no_grad():
        network.train()(images)
        wanted = network.eval()(images)
    checkpoint = Checkpoint("x", "1", "", spec, network.state_dict(), card_labels(tuple("abc"), {}), size_px, size_px)
    graph = float_graph(checkpoint)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found = onnxruntime.InferenceSession(graph.SerializeToString(), options).run(None, {"pixels": pixels})
    for name, ours, theirs in zip(("logits", "embedding", "attention"), found, wanted, strict=True):
        assert ours.shape == tuple(theirs.shape)
        scale = float(theirs.abs().max())
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-3 * scale, err_msg=name)
    assert float(wanted.attention.std((2, 3)).max()) > 0
