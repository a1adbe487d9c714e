"""Local times of many frames at once, against zoneinfo one by one."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edge.report.read.local_time import NO_TIME, local_text, offset_s, to_local


@pytest.mark.parametrize("name", ["Europe/Madrid", "Africa/Nairobi", "Australia/Lord_Howe", "America/St_Johns", "UTC"])
def test_same_as_zoneinfo(name: str) -> None:
    zone = ZoneInfo(name)
    at = np.random.default_rng(1).integers(1_100_000_000, 1_900_000_000, 500)
    # and every quarter of an hour around a change of the clocks
    at = np.concatenate([at, 1_774_745_000 + np.arange(-200, 200) * 900, 1_791_040_000 + np.arange(-200, 200) * 900])
    expected = [datetime.fromtimestamp(int(a), UTC).astimezone(zone).isoformat() for a in at]
    assert local_text(to_local(at, zone), offset_s(at, zone)) == expected


def test_unknown_times_stay_unknown() -> None:
    at = np.array([NO_TIME, 0])
    assert local_text(to_local(at, ZoneInfo("Europe/Madrid"))) == ["", "1970-01-01T01:00:00"]
