"""Softmax, sums and means of log-probabilities, against SciPy in double precision."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.inference.probabilities import log_softmax, logsumexp, pool

special = pytest.importorskip("scipy.special")  # a device has no SciPy
LOGITS = np.array([[2.0, 1.0, -1.0], [1000.0, 0.0, -1000.0]], np.float32)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_log_probabilities_are_those_of_a_softmax_whatever_the_size_of_the_logits(temperature: float) -> None:
    found = log_softmax(LOGITS, temperature)
    assert found.dtype == np.float32
    assert found == pytest.approx(special.log_softmax(LOGITS.astype(np.float64) / temperature, axis=1), rel=1e-5)
    assert (log_softmax(LOGITS[0], temperature) == found[0]).all()  # alone as in a batch


@pytest.mark.parametrize("logs", [LOGITS, LOGITS.astype(np.float64)], ids=["float32", "float64"])
def test_a_sum_is_taken_over_the_last_axis_in_the_precision_given(logs: NDArray[np.floating]) -> None:
    assert logsumexp(logs).dtype == logs.dtype
    assert logsumexp(logs) == pytest.approx(special.logsumexp(LOGITS.astype(np.float64), axis=1), rel=1e-6)
    assert logsumexp(logs[:, :1]).tolist() == logs[:, 0].tolist()


def test_frames_are_pooled_by_the_mean_of_their_logarithms() -> None:
    frames = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])).astype(np.float16)
    wanted = np.sqrt([0.07, 0.16, 0.01])
    assert np.exp(pool(frames)) == pytest.approx(wanted / wanted.sum(), rel=2e-3)
    many = np.repeat(frames, 1200, axis=0)  # more than are averaged at a time
    assert pool(many) == pytest.approx(pool(frames))


def test_what_one_frame_excludes_is_not_lost_for_all() -> None:
    never = np.array([[0.0, -np.inf], [-5.0, -0.01]], np.float16)
    assert np.isfinite(pool(never)).all()
