import numpy as np

from train.evaluation.gallery import overlay


def test_the_overlay_warms_where_attention_is_and_leaves_the_rest() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    attention = np.zeros((2, 8, 8), np.float32)
    attention[0, 1, 6], attention[1, 1, 5] = 3.0, 3.0  # two part maps, up and right
    shown = overlay(grey, attention).astype(int)
    change = np.abs(shown - 90).max(2)
    assert change[12, 48] > 40  # between the two
    assert shown[12, 48, 0] > shown[12, 48, 2]  # red above blue
    assert change[32:].max() == change[:, :24].max() == 0
    assert np.array_equal(overlay(grey, np.ones((1, 8, 8), np.float32)), grey)  # attention that is alike everywhere
