"""Calibration sees what the device sees: the same crops, the same rule for when a crop counts, the same mixture."""

from pathlib import Path

import numpy as np
import pytest

from edge.image.decode import decode
from edge.inference.attention_crop import decode_side_px
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import Model
from edge.vocabulary import Kind
from export.validation.labelled_frames import LabelledFrame
from export.validation.model_outputs import calibration_pixels, take_outputs, take_renderings
from tests.support.made_images import noisy_jpeg
from tests.support.tiny_model import write_tiny_model

FRACTION = 0.5


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledFrame]:
    """Frames of several shapes, some so large that the device decodes them at a smaller scale."""
    folder = tmp_path_factory.mktemp("frames")
    frames = []
    for number in range(12):
        path = folder / f"{number}.jpg"
        path.write_bytes(noisy_jpeg(number, height=6 + number % 3, width=8, block_px=9 if number % 2 else 40))
        frames.append(LabelledFrame(path, path.name, Kind.ANIMAL, (), 0, path.name))
    return frames


def test_log_probabilities_are_those_of_the_device(labelled: list[LabelledFrame], tmp_path: Path) -> None:
    model = Model(write_tiny_model(tmp_path / "sure.onnx", sharpness=40.0))
    outputs = take_outputs(model, labelled, FRACTION)
    found = outputs.under(model.card, model.card.calibration)
    side_px = decode_side_px(model.card)
    inputs = [network_input(model, decode(frame.path.read_bytes(), side_px)) for frame in labelled]
    predictions = [classify_frames(model, [each])[0] for each in inputs]
    np.testing.assert_allclose(found, [each.log_probabilities for each in predictions], atol=1e-4)
    assert list(outputs.crop_boxes) == [each.crop for each in predictions]
    whole = [each.log_probabilities for each in classify_frames(model, inputs, False)]
    differs = np.abs(found - np.array(whole)).max(axis=1) > 1e-3
    assert 0 < differs.sum() < len(labelled)  # some frames are sure enough to need no crop


def test_frames_are_decoded_at_full_size_only_where_the_device_scales_them(
    tiny_model: Path, labelled: list[LabelledFrame]
) -> None:
    model = Model(tiny_model)
    large, small = labelled[::2], labelled[1::2]
    assert len(take_renderings(model, small, FRACTION)) == 1
    scaled, full_size = take_renderings(model, large, FRACTION)
    assert scaled.scaled
    assert not full_size.scaled
    assert (scaled.whole != full_size.whole).any()


def test_activation_ranges_see_whole_frames_and_crops(tiny_model: Path, labelled: list[LabelledFrame]) -> None:
    model = Model(tiny_model)
    pixels = calibration_pixels(model, labelled[:3], FRACTION)
    outputs = take_outputs(model, labelled[:3], FRACTION)
    assert outputs.crop is not None
    np.testing.assert_allclose(model.run(pixels[::2]).logits, outputs.whole, atol=1e-4)
    np.testing.assert_allclose(model.run(pixels[1::2]).logits, outputs.crop, atol=1e-4)
