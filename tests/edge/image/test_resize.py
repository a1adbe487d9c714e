"""Resizing gives the same pixels at every decoding scale, close to the mean of whole areas."""

import cv2
import numpy as np
import pytest

from edge.image.resize import Pixels, halved, resize


def noise(height: int, width: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height: int, width: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(noise(height, width), (0, 0), 2.0), np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (100, 140), (257, 129), (64, 900), (900, 64), (20, 30), (1, 1)])
def test_any_size_comes_out_as_asked(size: tuple[int, int]) -> None:
    assert resize(noise(*size), 64, 48).shape == (64, 48, 3)
    flat = np.full((*size, 3), 93, np.uint8)
    assert (resize(flat, 64, 48) == 93).all()


def test_halving_averages_and_stops_at_the_size_asked_for() -> None:
    pixels = noise(80, 120)
    twice = halved(pixels, 40, 40)
    assert twice.shape == (40, 60, 3)
    means = pixels.reshape(40, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(twice - means).max() <= 0.75
    assert halved(pixels, 41, 61) is pixels
    assert halved(pixels, 41, 60).shape == (80, 60, 3)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size", [(128, 170), (150, 150), (300, 130)])
def test_a_frame_of_more_pixels_gives_the_same(size: tuple[int, int], factor: int) -> None:
    """Each pixel is repeated, as by a decoder at full size of an image without more detail."""
    pixels = noise(*size)
    repeated = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    assert np.array_equal(resize(repeated, 64, 64), resize(pixels, 64, 64))


@pytest.mark.parametrize("size", [(153, 204), (128, 160), (200, 400), (612, 816)])
def test_it_is_close_to_averaging_whole_areas(size: tuple[int, int]) -> None:
    pixels = smooth(*size)
    areas = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    neighbours = cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    ours = np.abs(resize(pixels, 64, 64) - areas).mean()
    assert ours < 1.5
    assert ours < 0.75 * np.abs(neighbours - areas).mean()
