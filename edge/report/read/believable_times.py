"""Whose time is believed: frames outside the period of their camera, and frames dated later than their device's clock.

What lies outside counts in no rate and no effort.

A period that a person gave decides. What nobody gave is taken from the frames with a believable clock; among them the
times from EXIF come before those of files, and a leap of more than a year between two frames of one camera parts them:
the part with the most frames counts, for no camera that stands at one place is silent for so long and then goes on.

A device without a clock of its own begins every day at the hour of its last power cut. What it says of the future is
judged again here, by the clock of the machine that makes the report where that is kept right.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.host.status import clock_synchronised
from edge.report.read.columns import places_of
from edge.report.read.deployment import Deployment
from edge.report.read.local_time import DAY_S, NO_TIME, Seconds
from edge.report.read.survey import WRONG_CLOCK, Flags, Heartbeats, doubt_bit
from edge.timestamps import EARLIEST_PLAUSIBLE, FUTURE_ALLOWANCE, now
from edge.vocabulary import ClockDoubt

LEAP_S = 366 * DAY_S
FARTHEST_YEARS = 10
FARTHEST_S = FARTHEST_YEARS * LEAP_S
_LATEST_S = 4_102_444_800  # the year 2100
_FUTURE = doubt_bit(ClockDoubt.FUTURE)


def doubts_of_times(at: Seconds, doubt: NDArray[np.int16]) -> NDArray[np.int16]:
    """The doubts with those that the times themselves tell, whatever wrote the database."""
    early, late = EARLIEST_PLAUSIBLE.timestamp(), now().timestamp() + LEAP_S
    if clock_synchronised() is False:
        late = _LATEST_S
    doubt = np.where((at != NO_TIME) & (at < early), doubt | np.int16(doubt_bit(ClockDoubt.BEFORE_2005)), doubt)
    return np.where(at > late, doubt | np.int16(_FUTURE), doubt)


def believable_periods(
    cameras: Sequence[Deployment], at: Seconds, doubt: NDArray[np.int16], warn: Callable[[str], None]
) -> tuple[Deployment, ...]:
    """The deployments without a start or an end that lies far from all frames: effort is counted day by day."""
    times = at[(at != NO_TIME) & ((doubt & WRONG_CLOCK) == 0)]
    first = int(times.min(initial=int(now().timestamp()))) - FARTHEST_S
    last = int(times.max(initial=int(EARLIEST_PLAUSIBLE.timestamp()))) + FARTHEST_S
    kept = []
    for camera in cameras:
        start, end = (edge if first <= edge <= last else NO_TIME for edge in (camera.start_at, camera.end_at))
        if (start, end) != (camera.start_at, camera.end_at):
            warn(
                f"the start or end of {camera.name!r} is not used: it lies more than {FARTHEST_YEARS} years before or"
                " after all frames; correct it in the configuration"
            )
        kept.append(replace(camera, start_at=start, end_at=end))
    return tuple(kept)


def outside_period(
    cameras: Sequence[Deployment], deployment: NDArray[np.int32], at: Seconds, doubt: NDArray[np.int16]
) -> NDArray[np.bool_]:
    """bool[N]: dated frames outside the period of their camera; `deployment` holds places in `cameras`."""
    outside = np.zeros(len(at), bool)
    for camera, mine in zip(cameras, places_of(deployment, len(cameras)), strict=True):
        here = mine[at[mine] != NO_TIME]
        if not len(here):
            continue
        times = at[here]
        believable = (doubt[here] & WRONG_CLOCK) == 0
        first, last = camera.start_at, camera.end_at
        if first != NO_TIME:
            believable &= times >= first
        if last != NO_TIME:
            believable &= times <= last
        from_exif = believable & ((doubt[here] & doubt_bit(ClockDoubt.NO_EXIF)) == 0)
        usable = np.sort(times[from_exif if from_exif.any() else believable])
        if len(usable):
            low, high = _main_part(usable)
            first = low if first == NO_TIME else first
            last = high if last == NO_TIME else last
        if first != NO_TIME:
            outside[here] |= times < first
        if last != NO_TIME:
            outside[here] |= times > last
    return outside


def not_in_future(
    at: Seconds, doubt: NDArray[np.int16], deployment: NDArray[np.int32], heartbeats: list[Heartbeats]
) -> Flags:
    """bool[N]: frames that their device called future, and whose time has come or may have come.

    A machine that is known to run free cannot tell. Then a frame is believed unless it lies a leap after every other
    frame of its camera, after what its devices knew when their clocks were right, and after this machine's clock.
    """
    doubtful = (doubt & _FUTURE) != 0
    if not doubtful.any():
        return np.asarray(doubtful)
    present = now().timestamp()
    if clock_synchronised() is not False:
        return np.asarray(doubtful & (at <= present + FUTURE_ALLOWANCE.total_seconds()))
    right = [int(beats.at[beats.clock_synchronised == 1].max(initial=NO_TIME)) for beats in heartbeats]
    known = max(right, default=NO_TIME)
    believed = np.zeros(len(at), bool)
    for place in np.unique(deployment[doubtful]).tolist():
        here = deployment == place
        others = at[here & (at != NO_TIME) & ((doubt & WRONG_CLOCK) == 0)]
        latest = max(known, int(others.max(initial=NO_TIME)))
        believed |= here & (latest == NO_TIME or at <= max(latest, present) + LEAP_S)
    return np.asarray(doubtful & believed)


def _main_part(times: Seconds) -> tuple[int, int]:
    """First and last of the part with the most frames, of ascending times that leaps part; the latest of equals."""
    cuts = np.flatnonzero(np.diff(times) > LEAP_S)
    first, last = np.r_[0, cuts + 1], np.r_[cuts, len(times) - 1]
    sizes = last - first
    main = len(sizes) - 1 - int(np.argmax(sizes[::-1]))
    return int(times[first[main]]), int(times[last[main]])
