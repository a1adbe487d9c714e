"""Evaluation of a checkpoint and the device's way through the exported model see the same pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edge.image.decode import decode
from edge.inference.attention_crop import decode_side_px
from edge.inference.card import Calibration, Card, Label, SecondCrop
from edge.inference.frame_classification import classify_frames, network_input
from edge.vocabulary import Kind
from export.graph import float_graph
from export.model_file import opened
from tests.support.recorded_inputs import record_inputs
from train.data.image_cache import PixelSource
from train.data.sample import Sample
from train.evaluation.images import AttentionCrops, EvaluationImages
from train.evaluation.predictions import predict
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.recipe import NetworkSpec

SIDE_PX = 64
PLAN = SecondCrop(region_fraction=0.4, weight=0.7, blank_weight=0.2)
LABELS = (Label("car", Kind.VEHICLE, "car"), Label("person", Kind.HUMAN, "person"), Label("blank", Kind.BLANK, "blank"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    spec = NetworkSpec("test_resnet", pooling="parts", parts=3)
    network = Network(spec, len(LABELS))
    made = ("tiny", "1", "2026-01-01T00:00:00Z")
    return Checkpoint(*made, spec, network.state_dict(), LABELS, SIDE_PX, SIDE_PX)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Frames of several sizes, each with a bright patch somewhere; the JPEG decoder can shrink the larger ones."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    paths = []
    for number, (height, width) in enumerate(((700, 1001), (480, 640), (330, 300), (100, 90))):
        pixels = rng.integers(0, 120, (height, width, 3))
        top, left = (int(rng.integers(0, side * 3 // 4)) for side in (height, width))
        pixels[top : top + height // 4, left : left + width // 4] += 120
        paths.append(folder / f"{number}.jpg")
        assert cv2.imwrite(str(paths[-1]), pixels.astype(np.uint8))
    return paths


def test_both_crops_and_their_combination_are_those_of_the_device(
    checkpoint: Checkpoint, frames: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(
        "tiny",
        "1",
        "2026-01-01T00:00:00Z",
        LABELS,
        SIDE_PX,
        SIDE_PX,
        Calibration(1.3, {"species": 0.5}, second_look=PLAN),
    )
    with opened(float_graph(checkpoint), card) as model:
        seen = record_inputs(model, monkeypatch)
        inputs = [network_input(model, decode(path.read_bytes(), decode_side_px(card), path.name)) for path in frames]
        on_device = classify_frames(model, inputs)
        attention = model.run(seen[0]).attention
    assert [prediction.inputs for prediction in on_device] == [2] * len(frames)
    images = EvaluationImages([Sample(path, "car") for path in frames], PixelSource(SIDE_PX), SIDE_PX, "squash")
    decoded = images.decoded_for_crops(PLAN.region_fraction)
    assert attention is not None
    crops = AttentionCrops(
        decoded.samples, decoded.source, SIDE_PX, "squash", attention=attention, fraction=PLAN.region_fraction
    )
    for place in range(len(frames)):
        assert np.array_equal(decoded.pixels(place), seen[0][place])
        assert np.array_equal(crops.pixels(place), seen[1][place])
    network = checkpoint.build_network()
    no_prototypes = np.zeros((len(LABELS), network.head.weight.shape[1]), np.float32)
    found = predict(network, LABELS, images, no_prototypes, 0, CPU, crop=PLAN, temperature=1.3)
    probabilities = torch.softmax(torch.from_numpy(found.logits) / 1.3, 1).numpy()
    assert np.allclose(probabilities, [np.exp(item.log_probabilities) for item in on_device], atol=1e-4)
