from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.image.decode import decode
from edge.image.resize import resize_to_input
from edge.inference.box_classification import MARGIN, classify_boxes, decode_side_px
from edge.inference.decision import Decider
from edge.inference.detector import Detector
from edge.inference.model import Model
from tests.support.recorded_inputs import record_inputs
from tests.support.tiny_detector import write_colour_classifier, write_known_detector
from train.data.image_cache import PixelSource, upright_size_px
from train.data.sample import Box, Keypoint, Sample
from train.evaluation.images import EvaluationImages


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    path = tmp_path / "frame.jpg"
    image = np.zeros((400, 800, 3), np.uint8)
    image[100:300, 200:600] = (0, 0, 250)  # a red animal, in OpenCV's order
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("cached", [False, True])
def test_evaluation_is_exactly_what_the_device_feeds_its_model(frame: Path, tmp_path: Path, cached: bool) -> None:
    source = PixelSource(64, cache=tmp_path / "cache" if cached else None)
    expected = resize_to_input(decode(frame.read_bytes(), 64).pixels, 64, 64, "squash")
    for _ in range(2):  # the second time from the cache
        assert np.array_equal(EvaluationImages([Sample(frame, "a")], source, 64, "squash").pixels(0), expected)


def test_a_large_frame_is_scaled_by_the_decoder(frame: Path) -> None:
    height, width = PixelSource(50).read(Sample(frame, "a")).shape[:2]
    assert (height, width) == (50, 100)


def test_a_bounding_box_is_cut_exactly_as_the_device_cuts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frame.jpg"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (600, 801, 3)).astype(np.uint8))
    boxes = [(0.1, 0.2, 0.35, 0.5), (0.4, 0.4, 0.42, 0.45), (0.9, 0.0, 1.0, 0.9), (0.0, 0.05, 0.98, 1.0)]
    drawn = [(*box, 0.9 - 0.1 * number, 0) for number, box in enumerate(boxes)]
    detector = Detector(write_known_detector(tmp_path / "detector.onnx", drawn))
    model = Model(write_colour_classifier(tmp_path / "colours.onnx"))
    inputs = record_inputs(model, monkeypatch)
    frame = decode(path.read_bytes(), decode_side_px(model.card, detector.model.card))
    found = classify_boxes(detector, model, Decider(model.card), frame).subjects
    assert len(found) == len(boxes)
    side_px = model.card.input_width_px
    source = PixelSource(side_px, crop_margin=MARGIN)
    for device, box in zip(inputs[0], [subject.box for subject in found], strict=True):
        sample = Sample(path, "a", box=Box(box.x, box.y, box.width, box.height))
        assert np.array_equal(EvaluationImages([sample], source, side_px, model.card.fit).pixels(0), device)


def test_boxes_and_keypoints_move_with_the_crop(frame: Path) -> None:
    sample = Sample(
        frame, "a", box=Box(0.25, 0.25, 0.5, 0.5), keypoints=(Keypoint("eye", 0.5, 0.5), Keypoint("tail", 0.9, 0.5))
    )
    tight = PixelSource(50, crop_margin=0.0)
    assert tight.box_in_image(sample) == Box(0.0, 0.25, 1.0, 0.5)  # 400 x 200 px in the square of 400 px
    assert tight.keypoints_in_image(sample) == {"eye": pytest.approx((0.5, 0.5))}
    pixels = tight.read(sample)
    high, wide = pixels.shape[:2]
    assert high == wide >= 50
    assert pixels[high // 4 + 3 : -high // 4 - 3, 3:-3, 0].min() > 200  # the red animal
    assert pixels[: high // 4 - 3, :, 0].max() < 50
    assert PixelSource(50).box_in_image(sample) == sample.box


def test_a_crop_is_the_same_from_the_cache_and_without_a_size(frame: Path, tmp_path: Path) -> None:
    box = Box(0.4, 0.4, 0.1, 0.2)
    loose = PixelSource(50, crop_margin=0.5)
    known = loose.read(Sample(frame, "a", box=box, size_px=(800, 400)))
    cached = PixelSource(50, crop_margin=0.5, cache=tmp_path / "cache")
    for source in (loose, cached, cached):
        assert np.array_equal(source.read(Sample(frame, "a", box=box)), known)


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_sizes_by_the_header_are_those_of_decoded_images(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert upright_size_px(path) == decode(path.read_bytes()).pixels.shape[1::-1]


def test_a_changed_file_is_decoded_again(frame: Path, tmp_path: Path) -> None:
    source = PixelSource(50, cache=tmp_path / "cache")
    before = source.read(Sample(frame, "a"))
    cv2.imwrite(str(frame), np.full((400, 800, 3), 200, np.uint8))
    assert not np.array_equal(source.read(Sample(frame, "a")), before)


def test_a_cache_that_cannot_be_written_stops_no_work(
    frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        source = PixelSource(50, cache=tmp_path / "file" / "cache")
        assert np.array_equal(source.read(Sample(frame, "a")), PixelSource(50).read(Sample(frame, "a")))
    said = capsys.readouterr().err
    assert said.count(f"warning: the cache {tmp_path}/file/cache cannot be written (Not a directory)") == 1


def test_a_full_disk_leaves_no_half_file_in_the_cache(
    frame: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(out: BinaryIO, pixels: np.ndarray) -> None:
        out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.data.image_cache.np.save", full)
    assert PixelSource(50, cache=tmp_path / "cache").read(Sample(frame, "a")).shape == (50, 100, 3)
    assert list((tmp_path / "cache").iterdir()) == []
    assert "No space left on device" in capsys.readouterr().err
