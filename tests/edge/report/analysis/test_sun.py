"""Sunrise and sunset against almanac values, and solar time by its two anchors."""

import numpy as np
import pytest

from edge.report.analysis.sun import solar_seconds, sun_of_day


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(int))


@pytest.mark.parametrize(
    ("date", "latitude", "longitude", "sunrise_utc_h", "sunset_utc_h"),
    [
        ("2026-06-21", 52.37, 4.90, 3 + 18 / 60, 20 + 6 / 60),  # Amsterdam
        ("2026-12-21", 52.37, 4.90, 7 + 48 / 60, 15 + 29 / 60),
        ("2026-03-20", 0.0, 36.8, 3 + 37 / 60, 15 + 44 / 60),  # on the equator, Kenya
        ("2026-06-21", -33.87, 151.21, -3 + 0 / 60, 6 + 54 / 60),  # Sydney: 7:00 and 16:54 local, ten hours ahead
    ],
)
def test_almanac(date: str, latitude: float, longitude: float, sunrise_utc_h: float, sunset_utc_h: float) -> None:
    (rise,), _, (set_,) = sun_of_day(np.array([day(date)]), latitude, longitude)
    assert rise == pytest.approx(sunrise_utc_h, abs=2.5 / 60)
    assert set_ == pytest.approx(sunset_utc_h, abs=2.5 / 60)


def test_polar_night_has_neither() -> None:
    (rise,), (noon,), (set_,) = sun_of_day(np.array([day("2026-12-21")]), 78.0, 15.0)
    assert np.isnan(rise)
    assert np.isnan(set_)
    assert noon == pytest.approx(11, abs=0.1)


def test_the_sun_rises_at_six_and_sets_at_eighteen_by_solar_time() -> None:
    date = day("2026-06-21")
    (rise,), (noon,), (set_,) = sun_of_day(np.array([date]), 52.37, 4.90)
    hours = np.array([rise, noon, set_, (set_ + rise + 24) / 2 - 24, (set_ + rise + 24) / 2])
    at = (date * 86400 + hours * 3600).astype(np.int64)
    solar = solar_seconds(at, np.full(5, date * 86400 + 7200, np.int64), 52.37, 4.90) / 3600
    # Midnight is 0 or, a second before, 24.
    assert np.allclose(np.minimum(solar, 24 - solar), [6, 12, 6, 0, 0], atol=0.01)
    assert solar[2] == pytest.approx(18, abs=0.01)
