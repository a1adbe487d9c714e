"""Frames dated later than the clock of the device that logged them: the camera's is ahead, or the device's behind.

A device without a clock of its own begins every day at the hour of its last power cut. What it says of the future is
judged again here, by the clock of the machine that makes the report where that is kept right.
"""

import numpy as np
from numpy.typing import NDArray

from edge.host.status import clock_synchronised
from edge.report.read.local_time import NO_TIME, Seconds
from edge.report.read.survey import WRONG_CLOCK, Flags, Heartbeats, doubt_bit
from edge.timestamps import FUTURE_ALLOWANCE, now
from edge.vocabulary import ClockDoubt

LEAP_S = 366 * 86_400
"""Between frames of one camera lies less, unless its clock leapt."""
_FUTURE = doubt_bit(ClockDoubt.FUTURE)


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
