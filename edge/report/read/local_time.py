"""Clock times at the camera, from the database's UTC seconds, for millions of frames at once."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.int64]
"""Seconds since 1970-01-01: UTC, or local time at the camera in variables named `local`."""

NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that is not known."""

DAY_S = 86_400


def offset_s(at: Seconds, zone: ZoneInfo) -> Seconds:
    """Offset of `zone` from UTC at each of `at`, int64[N] seconds; 0 where the time is not known."""
    known = at != NO_TIME
    if not known.any():
        return np.zeros(len(at), np.int64)
    starts, offsets = _steps(int(at[known].min()), int(at[known].max()), zone)
    places = np.searchsorted(starts, at, side="right") - 1
    return np.where(known, offsets[np.maximum(places, 0)], 0)


def to_local(at: Seconds, zone: ZoneInfo) -> Seconds:
    """UTC seconds as local seconds; unknown times stay unknown."""
    return np.where(at == NO_TIME, NO_TIME, at + offset_s(at, zone))


def local_text(local: Seconds, offset: Seconds | None = None) -> list[str]:
    """Local seconds as `YYYY-MM-DDTHH:MM:SS`, with `+HH:MM` when offsets are given; empty where not known."""
    known = local != NO_TIME
    stamps = np.where(known, local, 0).astype("datetime64[s]")
    text: list[str] = np.datetime_as_string(stamps).tolist()
    if offset is not None:
        names = {int(value): _offset_name(int(value)) for value in np.unique(offset)}
        text = [stamp + names[value] for stamp, value in zip(text, offset.tolist(), strict=True)]
    if not known.all():
        text = [stamp if here else "" for stamp, here in zip(text, known.tolist(), strict=True)]
    return text


def day_text(day: int) -> str:
    """A count of days since 1970-01-01 as `YYYY-MM-DD`."""
    return str(np.datetime64(int(day), "D"))


def day_name(local: int) -> str:
    """Local seconds as `3 May 2026`."""
    date = np.datetime64(local // DAY_S, "D").item()
    return f"{date.day} {date:%b %Y}"


def _offset_name(offset: int) -> str:
    sign = "-" if offset < 0 else "+"
    minutes = abs(offset) // 60
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _steps(first: int, last: int, zone: ZoneInfo) -> tuple[Seconds, Seconds]:
    """When the offset of `zone` changes between two moments, and to what; the first entry holds from the start."""
    starts, offsets = [first], [_offset(first, zone)]
    at = first
    while at < last:
        after = min(at + 7 * DAY_S, last)  # no zone changes its clock twice in a week and back
        if _offset(after, zone) != offsets[-1]:
            low, high = at, after
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(middle, zone) == offsets[-1] else (low, middle)
            starts.append(high)
            offsets.append(_offset(high, zone))
            at = high
        else:
            at = after
    return np.array(starts, np.int64), np.array(offsets, np.int64)


def _offset(at: int, zone: ZoneInfo) -> int:
    moved = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    return 0 if moved is None else int(moved.total_seconds())
