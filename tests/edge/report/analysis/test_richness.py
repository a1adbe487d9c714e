"""Chao2 and accumulation against values worked out by hand and by counting."""

from itertools import combinations

import numpy as np
import pytest

from edge.report.analysis.richness import chao2, expected_species


def test_chao2_by_hand() -> None:
    # 5 species on 10 camera-days, two of them once, one twice: 5 + 0.9 * 4 / 2
    estimate, low, high = chao2(np.array([1, 1, 2, 5, 8]), 10)
    assert estimate == pytest.approx(6.8)
    assert 5 < low < estimate < high


def test_chao2_without_duplicates_is_bias_corrected() -> None:
    assert chao2(np.array([1, 1, 1, 7]), 20)[0] == pytest.approx(4 + 0.95 * 3 * 2 / 2)


def test_nothing_rare_means_nothing_unseen() -> None:
    assert chao2(np.array([4, 6]), 10) == (2, 2, 2)
    assert chao2(np.zeros(0, np.int64), 0) == (0, 0, 0)


def test_expected_species_is_the_mean_over_all_samples() -> None:
    days = [{0}, {1, 2, 5}, {0, 1, 2, 3, 4, 5}]  # the camera-days of each species, of six
    met = np.array([len(d) for d in days])
    for size in range(7):
        counted = [sum(bool(d & set(sample)) for d in days) for sample in combinations(range(6), size)]
        assert expected_species(met, 6, size) == pytest.approx(np.mean(counted))
