"""Trap-nights: the days on which each camera was working, as far as that is known."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge.report.read.deployment import Deployment
from edge.report.read.filters import Selection
from edge.report.read.local_time import DAY_S, NO_TIME, to_local
from edge.report.read.survey import CLASSIFIED, Heartbeats, Survey

LEAST_GAP_S = 6 * 3600
HEARTBEATS_MISSED = 4
"""A silence of so many usual heartbeat steps is a gap."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Sampling effort of one deployment. Days are counted since 1970-01-01, in the deployment's zone."""

    first_day: int
    active: NDArray[np.bool_]
    """bool[days] from `first_day`: True where the camera watched at least part of the day."""
    gaps: tuple[tuple[int, int], ...]
    """(from, to) in local seconds: neither a frame nor a heartbeat, although the device should have been running."""
    start_given: bool
    end_given: bool

    @property
    def last_day(self) -> int:
        return self.first_day + len(self.active) - 1

    @property
    def trap_nights(self) -> int:
        """Days with any watching, first and last included: what the field calls trap-nights or camera-days."""
        return int(self.active.sum())

    def days(self) -> NDArray[np.int64]:
        """The days on which the camera watched."""
        return self.first_day + np.flatnonzero(self.active).astype(np.int64)


NO_EFFORT = Effort(0, np.zeros(0, bool), (), False, False)


def find_effort(survey: Survey, selection: Selection) -> tuple[Effort, ...]:
    """The effort of each deployment, within the selected period.

    A deployment lasts from its given start to its given end; what is not given is taken from the first and last
    frame with a believable clock, and from heartbeats where frames arrive as they are taken. Days without any sign
    of life are taken out only where heartbeats could have given one.
    """
    return tuple(
        _clipped(_of_deployment(survey, place, deployment), selection)
        for place, deployment in enumerate(survey.deployments)
    )


def _of_deployment(survey: Survey, place: int, deployment: Deployment) -> Effort:
    frames = survey.frames.take(survey.frames.of(place))
    taken = frames.at[frames.clock_good]
    beats = _beats(survey, place) if deployment.name in survey.live else None
    signs = taken if beats is None else np.sort(np.concatenate([taken, beats.at]))
    given_start, given_end = deployment.start_at != NO_TIME, deployment.end_at != NO_TIME
    if not len(taken) and not (given_start and given_end):
        return NO_EFFORT
    start = deployment.start_at if given_start else int(taken.min())
    end = deployment.end_at if given_end else int(signs.max())
    if end < start:
        return NO_EFFORT
    # A deployment whose set end lies in the future has not been working until then yet.
    if given_end and beats is not None and len(beats.at) and end > int(signs.max()) + DAY_S:
        end = int(signs.max())
    signs = signs[(signs >= start) & (signs <= end)]
    first_day, last_day = (int(to_local(np.array([at]), deployment.zone)[0]) // DAY_S for at in (start, end))
    active = np.ones(last_day - first_day + 1, bool)
    gaps = _gaps(signs, beats, start, end) if beats is not None else []
    local = to_local(np.array([edge for gap in gaps for edge in gap], np.int64), deployment.zone).reshape(-1, 2)
    for begin, finish in (local // DAY_S).tolist():
        active[max(0, begin - first_day + 1) : max(0, finish - first_day)] = False
    return Effort(first_day, active, tuple((a, b) for a, b in local.tolist()), given_start, given_end)


def deployment_period(survey: Survey, place: int) -> NDArray[np.int64] | None:
    """int64[2]: start and end of a deployment in UTC seconds; `None` when nothing tells.

    What was given counts, else the first and last frame with a believable clock, else, where there is no such frame,
    the first and last with any time.
    """
    frames, deployment = survey.frames.take(survey.frames.of(place)), survey.deployments[place]
    dated = (frames.status == CLASSIFIED) & (frames.at != NO_TIME)
    believable = dated & frames.clock_good
    taken = frames.at[believable if believable.any() else dated]
    start, end = deployment.start_at, deployment.end_at
    if len(taken):
        # Without any believable frame, a given edge may lie beyond all of them.
        start = int(taken.min()) if start == NO_TIME else start
        end = int(taken.max()) if end == NO_TIME else end
    if NO_TIME in (start, end):
        return None
    if end < start:
        start = end = start if deployment.start_at != NO_TIME else end
    return np.array([start, end], np.int64)


def _beats(survey: Survey, place: int) -> Heartbeats | None:
    """Heartbeats of the device that most of the deployment's frames came from."""
    devices = survey.frames.database[survey.frames.of(place)]
    if not len(devices):
        return None
    beats = survey.heartbeats[int(np.bincount(devices).argmax())]
    return beats if len(beats.at) > 1 else None


def _gaps(signs: NDArray[np.int64], beats: Heartbeats, start: int, end: int) -> list[tuple[int, int]]:
    limit = max(LEAST_GAP_S, HEARTBEATS_MISSED * float(np.median(np.diff(beats.at))))
    # Before the first heartbeat the device may not have been installed.
    edges = np.concatenate([[max(start, int(beats.at[0]))], signs[signs >= beats.at[0]], [end]])
    silent = np.flatnonzero(np.diff(edges) > limit)
    return [(int(edges[i]), int(edges[i + 1])) for i in silent]


def _clipped(effort: Effort, selection: Selection) -> Effort:
    low, high = effort.first_day, effort.last_day
    if selection.since is not None:
        low = max(low, _day(selection.since))
    if selection.until is not None:
        high = min(high, _day(selection.until, before=True))
    if (low, high) == (effort.first_day, effort.last_day) or not len(effort.active):
        return effort
    if high < low:
        return NO_EFFORT
    kept = effort.active[low - effort.first_day : high - effort.first_day + 1]
    gaps = tuple(gap for gap in effort.gaps if gap[1] >= low * DAY_S and gap[0] < (high + 1) * DAY_S)
    return Effort(low, kept, gaps, effort.start_given, effort.end_given)


def _day(moment: datetime, before: bool = False) -> int:
    seconds = int((moment - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 - local against local
    return (seconds - before) // DAY_S


def total_nights(efforts: tuple[Effort, ...]) -> int:
    """Trap-nights of all deployments."""
    return sum(effort.trap_nights for effort in efforts)
