from dataclasses import replace

import numpy as np
import pytest

from edge.image.box import Box
from edge.inference.attention_crop import attention_crops, combine
from edge.inference.card import SecondCrop

PLAN = SecondCrop(region_fraction=0.5, weight=0.8, blank_weight=0.25)
BLANK = np.array([False, False, True])


def logs(*p: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.log(np.array(p, np.float32))


def test_two_predictions_combine_to_probabilities() -> None:
    mixed = np.exp(combine(logs(0.5, 0.2, 0.3), logs(0.1, 0.8, 0.1), PLAN, BLANK))
    assert mixed.sum() == pytest.approx(1.0, abs=1e-6)


def test_species_of_frame_and_crop_are_mixed_by_the_weight() -> None:
    whole, crop = logs(0.45, 0.05, 0.5), logs(0.05, 0.85, 0.1)
    mixed = np.exp(combine(whole, crop, PLAN, BLANK))
    # The odds of the two species are 9 : 1 in the whole frame and 1 : 17 in the crop.
    assert mixed[0] / mixed[1] == pytest.approx(9**0.2 / 17**0.8, rel=1e-5)
    other_blank_weight = np.exp(combine(whole, crop, replace(PLAN, blank_weight=0.9), BLANK))
    assert other_blank_weight[0] / other_blank_weight[1] == pytest.approx(mixed[0] / mixed[1], rel=1e-5)


def test_blank_of_frame_and_crop_is_mixed_by_the_blank_weight() -> None:
    whole, crop = logs(0.25, 0.05, 0.7), logs(0.05, 0.85, 0.1)
    blank = np.exp(combine(whole, crop, PLAN, BLANK))[2]
    # The odds of blank are 7 : 3 in the whole frame and 1 : 9 in the crop.
    assert blank / (1 - blank) == pytest.approx((7 / 3) ** 0.75 / 9**0.25, rel=1e-5)
    assert np.exp(combine(whole, crop, replace(PLAN, weight=0.1), BLANK))[2] == pytest.approx(blank, rel=1e-5)


def test_several_blank_labels_keep_their_shares_of_the_whole_frame() -> None:
    blank = np.array([False, True, True])
    mixed = np.exp(combine(logs(0.2, 0.2, 0.6), logs(0.4, 0.5, 0.1), PLAN, blank))
    assert mixed[2] / mixed[1] == pytest.approx(3, rel=1e-5)
    assert mixed.sum() == pytest.approx(1.0, abs=1e-6)


def test_the_same_prediction_twice_changes_nothing() -> None:
    once = logs(0.6, 0.3, 0.1)
    assert np.exp(combine(once, once, PLAN, BLANK)) == pytest.approx(np.exp(once), abs=1e-6)


def test_without_a_blank_label_all_labels_are_mixed_by_the_weight() -> None:
    mixed = np.exp(combine(logs(0.9, 0.1), logs(0.2, 0.8), PLAN, np.array([False, False])))
    assert mixed[0] / mixed[1] == pytest.approx(9**0.2 / 4**0.8, rel=1e-5)
    assert mixed.sum() == pytest.approx(1.0, abs=1e-6)


def test_the_crop_is_a_square_around_the_peak_and_stays_inside_the_frame() -> None:
    attention = np.zeros((3, 1, 8, 8), np.float32)
    attention[0, 0, 4, 4] = attention[1, 0, 0, 7] = attention[2, 0, 7, 0] = 1.0
    middle, corner, wide = attention_crops(attention, [(600, 600), (600, 800), (400, 1600)], 0.5)
    assert middle is not None
    assert corner is not None
    assert wide is not None
    assert middle.width == middle.height == 37 * 8 / 600
    assert middle.x <= 4.5 / 8 <= middle.x + middle.width
    assert (corner.x + corner.width, corner.y) == pytest.approx((1.0, 0.0))
    assert corner.width * 800 == pytest.approx(corner.height * 600) == pytest.approx(296)
    assert wide.width * 1600 == pytest.approx(200)


def test_the_crop_is_made_of_the_same_pixels_at_each_scale() -> None:
    attention = np.random.default_rng(3).random((40, 1, 8, 8), np.float32)
    frame = np.random.default_rng(4).integers(0, 256, (480, 640, 3), np.uint8)
    for box in attention_crops(attention, [(480, 640)] * 40, 0.5):
        assert box is not None
        whole = box.cut(frame)
        for scale in (2, 4, 8):
            assert np.array_equal(box.cut(frame[::scale, ::scale]), whole[::scale, ::scale])


@pytest.mark.parametrize("shape", [(1, 1), (9, 300), (255, 257), (257, 301), (1203, 1799)])
def test_the_crop_of_a_frame_of_any_size_lies_inside_it(shape: tuple[int, int]) -> None:
    attention = np.random.default_rng(5).random((60, 2, 8, 8), np.float32)
    for box in attention_crops(attention, [shape] * 60, 0.5):
        assert box is not None
        assert min(box.x, box.y) >= 0 < min(box.width, box.height)
        assert max(box.x + box.width, box.y + box.height) <= 1 + 1e-12
        assert box.cut(np.zeros((*shape, 3), np.uint8)).size


def test_one_strong_cell_weighs_less_than_a_whole_animal() -> None:
    attention = np.zeros((1, 1, 9, 9), np.float32)
    attention[0, 0, 0, 0] = 1.5
    attention[0, 0, 5:8, 5:8] = 1.0
    (box,) = attention_crops(attention, [(900, 900)], 0.4)
    assert box is not None
    assert box.x <= 6.5 / 9 <= box.x + box.width


def test_a_model_without_attention_has_no_crop() -> None:
    assert attention_crops(None, [(10, 10), (20, 20)], 0.5) == [None, None]


def test_a_box_cuts_its_part_of_the_image() -> None:
    pixels = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    part = Box(0.5, 0.2, 0.25, 0.5).cut(pixels)
    assert part.shape == (5, 5, 3)
    assert (part[0, 0] == pixels[2, 10]).all()
    assert Box(0.999, 0.999, 0.0001, 0.0001).cut(pixels).size
