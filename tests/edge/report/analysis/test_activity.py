"""Activity against the formulas written out, and against another implementation where it is installed."""

import numpy as np
import pytest

from edge.report.analysis.activity import Sample, concentration, density, minute_counts, overlap, overlap_of


def times(seed: int, peak_h: float, kappa: float, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    angles = np.random.default_rng(seed).vonmises(0, kappa, size) * 12 / np.pi
    return (np.asarray((peak_h + angles) % 24) * 3600).astype(np.int64)


def test_density_is_the_sum_of_von_mises_kernels() -> None:
    seconds = times(1, 6, 2.0, 60) // 60 * 60
    kappa = float(concentration(minute_counts(seconds)))
    at = 2 * np.pi * np.arange(1440) / 1440
    kernels = np.exp(kappa * np.cos(at[:, None] - 2 * np.pi * seconds / 86400)) / (2 * np.pi * np.i0(kappa))
    assert np.allclose(density(minute_counts(seconds)), kernels.mean(axis=1) * 2 * np.pi / 24, rtol=1e-6)


def test_overlap_of_the_same_is_one_and_of_opposites_small() -> None:
    morning, evening = minute_counts(times(1, 6, 8, 200)), minute_counts(times(2, 18, 8, 200))
    assert overlap(morning, morning, 10).value == pytest.approx(1, abs=1e-6)
    assert overlap(morning, evening, 10).value < 0.02


def test_intervals_hold_the_estimate_and_narrow_with_more_events() -> None:
    few = overlap(minute_counts(times(1, 6, 2, 40)), minute_counts(times(2, 8, 2, 40)), 300)
    many = overlap(minute_counts(times(1, 6, 2, 4000)), minute_counts(times(2, 8, 2, 4000)), 300)
    assert few.estimator == "Dhat1"
    assert many.estimator == "Dhat4"
    assert many.interval[0] < many.value < many.interval[1]
    assert many.interval[1] - many.interval[0] < (few.interval[1] - few.interval[0]) / 3


def test_agrees_with_camtraptools() -> None:
    other = pytest.importorskip("camtraptools.activity")
    first, second = times(3, 7, 1.5, 300), times(4, 9, 1.0, 120)
    ours = overlap_of(Sample.of(minute_counts(first), 5), Sample.of(minute_counts(second), 5))
    a, b = first / 86400 * 2 * np.pi, second / 86400 * 2 * np.pi
    assert ours.dhat4 == pytest.approx(other.overlap(a, b), abs=0.003)
    small = overlap_of(Sample.of(minute_counts(first[:70]), 5), Sample.of(minute_counts(second[:70]), 5))
    assert small.dhat1 == pytest.approx(other.overlap(a[:70], b[:70]), abs=0.003)
