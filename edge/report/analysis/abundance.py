"""Relative abundance: events per 100 trap-nights, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.events import Events
from edge.report.analysis.sampling_effort import Effort, total_nights
from edge.report.read.local_time import DAY_S

REPLICATES = 1000
_WEIGHTS_AT_ONCE = 20_000_000
WIDEST_INTERVAL = 30  # upper end by lower end; a wider interval says only that there are too few events
SITES_FOR_BOOTSTRAP = 5  # with fewer cameras, nights are resampled instead


@dataclass(frozen=True, slots=True)
class Abundance:
    """The index of one taxon."""

    events: int
    index: float
    """Events per 100 trap-nights; NaN without effort."""
    low: float
    high: float
    """95% percentile interval."""

    @property
    def interval_says_something(self) -> bool:
        """Whether there are enough events for an interval of use."""
        return 0 < self.high <= WIDEST_INTERVAL * self.low


def resampled_unit(efforts: Sequence[Effort]) -> str:
    """The unit that is resampled for the intervals."""
    return "deployments" if sum(e.trap_nights > 0 for e in efforts) >= SITES_FOR_BOOTSTRAP else "trap-nights"


def abundances(events: Events, efforts: tuple[Effort, ...], taxa: Sequence[int], seed: int = 0) -> list[Abundance]:
    """The index of each of `taxa` (places in `Survey.taxa`) over all deployments.

    Deployments are resampled with replacement; with fewer than `SITES_FOR_BOOTSTRAP` of them, trap-nights are, which
    leaves out the difference between places.
    """
    nights = total_nights(efforts)
    animals = events.rated & np.isin(events.taxon, list(taxa))
    place_of = np.full(max(taxa, default=0) + 1, -1, np.int64)
    place_of[list(taxa)] = np.arange(len(taxa))
    taxon, deployment = place_of[events.taxon[animals]], events.deployment[animals]
    if resampled_unit(efforts) == "deployments":
        sites = [i for i, effort in enumerate(efforts) if effort.trap_nights]
        site_of = np.full(len(efforts), -1, np.int64)
        site_of[sites] = np.arange(len(sites))
        unit, effort_of_unit = site_of[deployment], np.array([efforts[i].trap_nights for i in sites], float)
    else:
        starts = np.cumsum([0, *(effort.trap_nights for effort in efforts)])
        unit = np.full(len(taxon), -1, np.int64)
        day = events.local_start[animals] // DAY_S
        for i, effort in enumerate(efforts):
            if effort.trap_nights:
                days, here = effort.days(), deployment == i
                unit[here] = starts[i] + np.minimum(np.searchsorted(days, day[here]), len(days) - 1)
        effort_of_unit = np.ones(nights)
    counted = unit >= 0
    table = np.zeros((len(effort_of_unit), len(taxa)))
    np.add.at(table, (unit[counted], taxon[counted]), 1)
    lows, highs = _interval(table, effort_of_unit, seed)
    totals = np.bincount(taxon, minlength=len(taxa)) if len(taxa) else np.zeros(0, np.int64)
    return [
        Abundance(int(events), 100 * int(events) / nights if nights else float("nan"), float(low), float(high))
        for events, low, high in zip(totals, lows, highs, strict=True)
    ]


def _interval(
    table: NDArray[np.float64], effort: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """2.5% and 97.5% of 100 * events / effort over resampled units; float64[taxa] each."""
    size, taxa = table.shape
    if size < 2 or not taxa:
        return np.full(taxa, np.nan), np.full(taxa, np.nan)
    random, shares = np.random.default_rng(seed), np.full(size, 1 / size)
    at_once = max(1, min(REPLICATES, _WEIGHTS_AT_ONCE // size))
    ratios = np.empty((REPLICATES, taxa))
    for first in range(0, REPLICATES, at_once):
        part = ratios[first : first + at_once]
        weights = random.multinomial(size, shares, len(part))
        part[:] = 100 * (weights @ table) / (weights @ effort)[:, None]
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    return low, high
