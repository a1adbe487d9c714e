"""Temperature scaling, calibration error and thresholds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15


@dataclass(frozen=True, slots=True)
class Reliability:
    """Mean confidence and accuracy in equal-width bins of confidence; bins without samples are left out."""

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[int, ...]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by count."""
        weights = np.array(self.count) / max(1, sum(self.count))
        return float(np.sum(weights * np.abs(np.array(self.confidence) - np.array(self.accuracy))))


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, "On Calibration of Modern Neural
    Networks").
    """
    places = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[places, truth].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def calibrated_probabilities(
    logits: NDArray[np.float32], truth: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """(probabilities float64[N, L], the temperature of all together).

    Each of several folds is calibrated with the temperature of the others, so that the error measured on it is not that
    of the data the temperature was fitted on.
    """
    temperature = fit_temperature(logits, truth)
    probabilities = np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1))
    folds = np.unique(fold)
    if len(folds) > 1:
        for number in folds:
            own = fold == number
            probabilities[own] = softmax(
                logits[own].astype(np.float64) / fit_temperature(logits[~own], truth[~own]), axis=1
            )
    return probabilities, temperature


def reliability(probabilities: NDArray[np.float64], truth: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Confidence against accuracy of the most probable label."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [number for number in range(bins) if (place == number).any()]
    return Reliability(
        tuple(float(confidence[place == number].mean()) for number in filled),
        tuple(float(right[place == number].mean()) for number in filled),
        tuple(int((place == number).sum()) for number in filled),
    )


def threshold_for_precision(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], wanted: float
) -> float | None:
    """The least confidence above which the share of right predictions is at least `wanted`; `None` if there is none."""
    _, precision = coverage_precision(probabilities, truth)
    confidence = np.sort(probabilities.max(1))[::-1]
    # Equal confidences lie on the same side of a threshold: only the last of them is a possible one.
    last = np.append(np.diff(confidence) != 0, True)
    good = np.flatnonzero((precision >= wanted) & last)
    return float(confidence[good[-1]]) if len(good) else None


def coverage_precision(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(coverage, precision), each float64[N]: those of the k most confident samples alone, k = 1..N."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    right = np.cumsum(probabilities.argmax(1)[order] == truth[order])
    count = np.arange(1, len(order) + 1)
    return count / len(order), right / count
