"""Activity over the day: circular kernel densities and how far two of them overlap.

Method of Ridout & Linkie (2009) as in the R package `overlap`: von Mises kernels, concentration by Taylor's (2008)
rule, coefficients Dhat1 (small samples, concentration / 0.8) and Dhat4 (from 75 events each). Times are counted in
bins, of one minute for estimates and of five for bootstrap samples, so that a million events and a thousand samples
cost a few Fourier transforms.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MINUTES = 1440
_SAMPLE_BIN_MINUTES = 5
LEAST_EVENTS = 10  # with fewer, the curve shows the kernel more than the animal
LARGE_SAMPLE = 75
WIDEST_PEAK_MINUTES = 480
"""A wider interval of the peak says that there is none."""
REPLICATES = 999
_MOMENTS = 3
_ADJUST_SMALL = 0.8


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of two activity patterns: 0 when they share no time of day, 1 when they are equal."""

    dhat1: float
    dhat4: float
    events: tuple[int, int]
    dhat1_interval: tuple[float, float]
    dhat4_interval: tuple[float, float]
    """95% percentile bootstrap."""

    @property
    def estimator(self) -> str:
        return "Dhat4" if min(self.events) >= LARGE_SAMPLE else "Dhat1"

    @property
    def value(self) -> float:
        return self.dhat4 if self.estimator == "Dhat4" else self.dhat1

    @property
    def interval(self) -> tuple[float, float]:
        return self.dhat4_interval if self.estimator == "Dhat4" else self.dhat1_interval


def minute_counts(seconds_of_day: NDArray[np.int64]) -> Floats:
    """float64[1440]: events in each minute of the day."""
    return np.bincount((seconds_of_day // 60) % MINUTES, minlength=MINUTES).astype(np.float64)


def density(counts: Floats, adjust: float = 1.0) -> Floats:
    """float64[..., bins] share of activity per hour in each bin of the day, of counts float64[..., bins]; mean 1/24.

    `adjust` divides the concentration of the kernels.
    """
    return _smoothed(counts, concentration(counts) / adjust)


def concentration(counts: Floats) -> Floats:
    """Kernel concentration by Taylor's rule, for counts float64[..., bins] -> float64[...]."""
    total = counts.sum(axis=-1)
    moments = np.abs(np.fft.rfft(counts, axis=-1)[..., 1 : _MOMENTS + 1]) / np.maximum(total, 1)[..., None]
    kappa = np.max(
        np.stack([np.interp(moments[..., k], _moment_lengths(k + 1), _kappas()) for k in range(_MOMENTS)]), axis=0
    )
    return np.asarray((total * np.interp(kappa, _kappas(), _taylor_factors())) ** 0.4, np.float64)


def overlap(first: Floats, second: Floats, replicates: int = REPLICATES, seed: int = 0) -> Overlap:
    """Overlap coefficients of two samples, as float64[1440] counts."""
    return overlap_of(Sample.of(first, replicates, seed), Sample.of(second, replicates, seed + 1))


@dataclass(frozen=True, slots=True)
class Curves:
    """Counts in bins of the day, each row with its two densities; float[N, bins]."""

    counts: Floats
    smooth: Floats
    """For Dhat4."""
    sharp: Floats
    """For Dhat1."""

    @classmethod
    def of(cls, rows: Floats) -> "Curves":
        return cls(
            rows.astype(np.float32), density(rows).astype(np.float32), density(rows, _ADJUST_SMALL).astype(np.float32)
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One species' events with its bootstrap samples, ready to be compared with others'."""

    events: int
    seen: Curves
    resampled: Curves

    @classmethod
    def of(cls, counts: Floats, replicates: int = REPLICATES, seed: int = 0) -> "Sample":
        """`counts` by minute, float64[1440]."""
        total = int(counts.sum())
        coarse = counts.reshape(-1, _SAMPLE_BIN_MINUTES).sum(axis=1)
        drawn = np.random.default_rng(seed).multinomial(total, coarse / max(total, 1), replicates)
        return cls(total, Curves.of(counts[None]), Curves.of(drawn.astype(np.float64)))


def overlap_of(first: Sample, second: Sample) -> Overlap:
    """Compare two prepared samples."""
    ((dhat1,), (dhat4,)) = _coefficients(first.seen, second.seen)
    dhat1s, dhat4s = _coefficients(first.resampled, second.resampled)
    events = (first.events, second.events)
    return Overlap(float(dhat1), float(dhat4), events, _percentiles(dhat1s), _percentiles(dhat4s))


@dataclass(frozen=True, slots=True)
class Peak:
    """The time of day with the highest density, as a 95% bootstrap interval in minutes of the day."""

    minute: int
    first: int
    last: int
    """Smaller than `first` where the interval goes over midnight."""

    @property
    def found(self) -> bool:
        """Whether the interval is short enough to speak of one peak."""
        return (self.last - self.first) % MINUTES <= WIDEST_PEAK_MINUTES

    def __str__(self) -> str:
        if not self.found:
            return "no clear peak"
        first, last = (f"{at // 60:02d}:{at % 60:02d}" for at in (self.first, self.last))
        return f"most between {first} and {last}" if first != last else f"most around {first}"


def peak(counts: Floats, replicates: int = REPLICATES, seed: int = 0) -> Peak:
    """The peak of `counts` by minute, float64[1440]; the interval is that of the peaks of resampled events."""
    total = int(counts.sum())
    at = int(density(counts).argmax())
    coarse = counts.reshape(-1, _SAMPLE_BIN_MINUTES).sum(axis=1)
    drawn = np.random.default_rng(seed).multinomial(total, coarse / max(total, 1), replicates).astype(np.float64)
    peaks = density(drawn).argmax(axis=1) * _SAMPLE_BIN_MINUTES + _SAMPLE_BIN_MINUTES // 2
    half = MINUTES // 2
    distances = (peaks - at + half) % MINUTES - half  # over midnight the short way
    low, high = np.quantile(distances, [0.025, 0.975])
    step = _SAMPLE_BIN_MINUTES
    first = floor((at + min(float(low), 0.0)) / step) * step
    last = ceil((at + max(float(high), 0.0)) / step) * step
    return Peak(at, first % MINUTES, last % MINUTES)


def _coefficients(first: Curves, second: Curves) -> tuple[Floats, Floats]:
    """Dhat1 and Dhat4 of each row; float[N] each."""
    dhat1 = np.minimum(first.sharp, second.sharp).mean(axis=1) * 24
    ratio = second.smooth / np.maximum(first.smooth, 1e-12)
    in_first = (first.counts * np.minimum(1, ratio)).sum(axis=1) / first.counts.sum(axis=1)
    in_second = (second.counts * np.minimum(1, 1 / np.maximum(ratio, 1e-12))).sum(axis=1) / second.counts.sum(axis=1)
    return dhat1, (in_first + in_second) / 2


def _percentiles(values: Floats) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _smoothed(counts: Floats, kappa: Floats) -> Floats:
    bins = counts.shape[-1]
    angles = np.arange(bins) * (2 * np.pi / bins)
    kernel = np.exp(np.asarray(kappa)[..., None] * (np.cos(angles) - 1))
    kernel /= kernel.sum(axis=-1, keepdims=True)
    share = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    curve = np.fft.irfft(np.fft.rfft(share, axis=-1) * np.fft.rfft(kernel, axis=-1), n=bins, axis=-1)
    return np.asarray(np.maximum(curve, 0) * (bins / 24))


@cache
def _kappas() -> Floats:
    return np.concatenate([np.linspace(0, 20, 2001), np.geomspace(20.05, 500, 400)])


@cache
def _bessel(order: int, twice: bool = False) -> Floats:
    """exp(-k) I_order(k) on the grid of concentrations (or on twice the grid), by its integral."""
    theta = np.linspace(0, np.pi, 2001)
    kappa = _kappas() * (2 if twice else 1)
    values = np.exp(kappa[:, None] * (np.cos(theta) - 1)) * np.cos(order * theta)
    return np.asarray((values[:, 1:] + values[:, :-1]).sum(axis=1) / 2 / 2000, np.float64)


@cache
def _moment_lengths(order: int) -> Floats:
    """I_order(k) / I_0(k): the length of the moment of that order of a von Mises distribution."""
    return np.asarray(_bessel(order) / _bessel(0), np.float64)


@cache
def _taylor_factors() -> Floats:
    """3 k^2 I_2(2k) / (4 sqrt(pi) I_0(k)^2)."""
    return np.asarray(3 * _kappas() ** 2 * _bessel(2, twice=True) / (4 * np.sqrt(np.pi) * _bessel(0) ** 2), np.float64)
