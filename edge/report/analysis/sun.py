"""Sunrise, sunset and solar time by the equations of NOAA's solar calculator, good to minutes below 65 degrees."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HORIZON_DEG = -0.833  # the sun's upper edge, seen through the air


def sun_of_day(days: NDArray[np.int64], latitude: float, longitude: float) -> tuple[Floats, Floats, Floats]:
    """(sunrise, noon, sunset) in UTC hours since midnight of each day (days since 1970-01-01), float64[N] each.

    Sunrise and sunset are NaN where the sun does not cross the horizon. The hours can lie outside 0..24.
    """
    century = (
        np.asarray(days, np.float64) - 10957.0 - longitude / 360
    ) / 36525  # since 2000-01-01 12:00, at noon there
    mean_longitude = np.radians((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360)
    anomaly = np.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        np.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + np.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + np.sin(3 * anomaly) * 0.000289
    )
    omega = np.radians(125.04 - 1934.136 * century)
    apparent = mean_longitude + np.radians(centre - 0.00569 - 0.00478 * np.sin(omega))
    tilt = np.radians(23.4392911 - 0.0130042 * century + 0.00256 * np.cos(omega))
    declination = np.arcsin(np.sin(tilt) * np.sin(apparent))
    y = np.tan(tilt / 2) ** 2
    equation_min = 4 * np.degrees(
        y * np.sin(2 * mean_longitude)
        - 2 * eccentricity * np.sin(anomaly)
        + 4 * eccentricity * y * np.sin(anomaly) * np.cos(2 * mean_longitude)
        - 0.5 * y**2 * np.sin(4 * mean_longitude)
        - 1.25 * eccentricity**2 * np.sin(2 * anomaly)
    )
    noon = 12 - longitude / 15 - equation_min / 60
    here = np.radians(latitude)
    cosine = np.sin(np.radians(_HORIZON_DEG)) / (np.cos(here) * np.cos(declination)) - np.tan(here) * np.tan(
        declination
    )
    with np.errstate(invalid="ignore"):
        half_day = np.degrees(np.arccos(cosine)) / 15
    return noon - half_day, noon, noon + half_day


def solar_seconds(
    at: NDArray[np.int64], local: NDArray[np.int64], latitude: float, longitude: float
) -> NDArray[np.int64]:
    """Seconds of a day on which the sun always rises at 6 and sets at 18, for each moment (UTC and local seconds).

    The double anchoring of Vazquez et al. (2019): day and night are each stretched to twelve hours, which keeps
    dawn and dusk in their places over the seasons. On days without sunrise or sunset the clock is centred on noon.
    """
    days = np.asarray(local // 86_400, np.int64)
    unique, place = np.unique(days, return_inverse=True)
    rise, noon, set_ = (values[place] for values in sun_of_day(unique, latitude, longitude))
    hour = (at - days * 86_400) / 3600
    length = set_ - rise
    day = 6 + 12 * (hour - rise) / length
    night = 18 + 12 * ((hour - set_) % 24) / (24 - length)
    solar = np.where((hour - rise) % 24 < length, 6 + 12 * ((hour - rise) % 24) / length, night)
    solar = np.where(np.isnan(length), 12 + hour - noon, np.where((hour >= rise) & (hour < set_), day, solar))
    return np.asarray(np.floor((solar % 24) * 3600), np.int64)
