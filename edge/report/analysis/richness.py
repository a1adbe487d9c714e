"""How many species there are: accumulation over camera-days, and Chao2.

The sampling unit is a camera-day. The curve is the expected number of species in a random sample of camera-days
(Colwell et al. 2012, exact rarefaction); Chao2 with its log-normal interval is Chao (1987), bias-corrected where no
species was met on exactly two camera-days.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.events import Events
from edge.report.analysis.sampling_effort import Effort, total_nights
from edge.report.read.local_time import DAY_S

CURVE_POINTS = 60


@dataclass(frozen=True, slots=True)
class Richness:
    """Species seen and estimated."""

    observed: int
    uniques: int
    """Species met on exactly one camera-day."""
    duplicates: int
    """Species met on exactly two."""
    chao2: float
    low: float
    high: float
    """95% interval; never below the species seen."""
    camera_days: int
    curve: tuple[tuple[int, float], ...]
    """(camera-days, expected species)."""


def incidence(events: Events, species: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[S]: camera-days with each of the species (places in `Survey.taxa`) that was met at all."""
    met = events.rated & np.isin(events.taxon, species)
    days = np.stack(
        [
            events.taxon[met].astype(np.int64),
            events.deployment[met].astype(np.int64),
            events.local_start[met] // DAY_S,
        ]
    )
    if not days.shape[1]:
        return np.zeros(0, np.int64)
    return np.unique(np.unique(days, axis=1)[0], return_counts=True)[1].astype(np.int64)


def richness(events: Events, efforts: tuple[Effort, ...], species: NDArray[np.int64]) -> Richness:
    """Accumulation and Chao2 over all deployments; `species` are the taxa of species rank."""
    met = incidence(events, species)
    units = max(total_nights(efforts), int(met.max(initial=0)))
    estimate, low, high = chao2(met, units)
    samples = np.unique(np.linspace(min(1, units), units, min(CURVE_POINTS, units)).round().astype(int)).tolist()
    curve = tuple((size, expected_species(met, units, size)) for size in samples)
    return Richness(
        len(met), int((met == 1).sum()), int((met == 2).sum()), estimate, low, high, units, curve if len(met) else ()
    )


def expected_species(met: NDArray[np.int64], units: int, sample: int) -> float:
    """Species in `sample` of `units` camera-days, on average, when each was met on `met` of them."""
    # Product of (units - sample - j) / (units - j) over j < met is the chance that all its days are left out.
    missed = [
        float(np.exp(np.log1p(-sample / (units - np.arange(days))).sum())) if sample <= units - days else 0.0
        for days in met.tolist()
    ]
    return len(missed) - sum(missed)


def chao2(met: NDArray[np.int64], units: int) -> tuple[float, float, float]:
    """Estimated species and the 95% interval."""
    seen = len(met)
    q1, q2 = int((met == 1).sum()), int((met == 2).sum())
    factor = (units - 1) / units if units else 0.0
    if q2:
        unseen = factor * q1**2 / (2 * q2)
        ratio = q1 / q2
        variance = q2 * (factor / 4 * ratio**4 + factor * ratio**3 + factor / 2 * ratio**2)
    else:
        unseen = factor * q1 * (q1 - 1) / 2
        variance = unseen + factor**2 * q1 * (2 * q1 - 1) ** 2 / 4 - factor**2 * q1**4 / (4 * max(unseen + seen, 1))
    if unseen <= 0 or variance <= 0:
        return seen + unseen, seen + unseen, seen + unseen
    spread = exp(1.959964 * sqrt(log(1 + variance / unseen**2)))
    return seen + unseen, seen + unseen / spread, seen + unseen * spread
