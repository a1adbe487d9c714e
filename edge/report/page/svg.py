"""Geometry of the charts: coordinates and SVG paths from numbers. The template decides how they look."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, log10, pi, sin

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.activity import MINUTES


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle with its tooltip."""

    x: float
    y: float
    width: float
    height: float
    text: str
    level: float = 1.0
    """Opacity, 0..1."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart of `width` x `height` with its axes."""

    width: float
    height: float
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    strip: tuple[Bar, ...] = ()
    """Drawn below the bars: share of cameras that were working."""


@dataclass(frozen=True, slots=True)
class Clock:
    """An activity curve around the day, midnight at the top, in a circle of radius 100 around (0, 0)."""

    path: str
    night: str
    """Path of the sector between sunset and sunrise; empty when not known."""
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A line chart with an interval shown as a band."""

    width: float
    height: float
    path: str
    band: Bar | None
    line_y: float | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def nice_ticks(top: float, wanted: int = 4, whole: bool = True) -> list[float]:
    """Round numbers from 0 to at least `top`."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / wanted
    power = 10 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    if whole:
        step = max(1.0, step)
    return [step * i for i in range(ceil(top / step - 1e-9) + 1)]


def number(value: float) -> str:
    """A number for people: thousands separated by a space, no needless digits."""
    if value != value:
        return "–"
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}".rstrip("0")


def bars(
    values: Sequence[float],
    texts: Sequence[str],
    x_ticks: Sequence[tuple[float, str]],
    width: float = 720,
    height: float = 150,
) -> Bars:
    """Bars of equal width; `x_ticks` are (place among the bars, text)."""
    gap = 0.18
    ticks = nice_ticks(max(values, default=0))
    top = ticks[-1]
    step = width / max(len(values), 1)
    drawn = tuple(
        Bar(
            i * step + step * gap / 2,
            height - height * value / top,
            max(step * (1 - gap), 0.6),
            height * value / top,
            text,
        )
        for i, (value, text) in enumerate(zip(values, texts, strict=True))
        if value > 0
    )
    return Bars(
        width,
        height,
        drawn,
        tuple(Tick(place * step, text) for place, text in x_ticks),
        tuple(Tick(height - height * value / top, number(value)) for value in ticks),
    )


_CLOCK_POINTS = 144
_INNER, _OUTER = 34.0, 100.0


def clock(density: NDArray[np.floating], sunrise_h: float | None, sunset_h: float | None, text: str) -> Clock:
    """A density float[1440] (share of activity per hour) around a circle; the inner ring stands for no activity."""
    samples = density[:: MINUTES // _CLOCK_POINTS]
    top = max(float(samples.max()), 1e-9)
    points = [
        _polar(24 * i / _CLOCK_POINTS, _INNER + (_OUTER - _INNER) * float(value) / top)
        for i, value in enumerate(samples)
    ]
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + "Z"
    night = ""
    if sunrise_h is not None and sunset_h is not None:
        (x0, y0), (x1, y1) = _polar(sunset_h, _OUTER), _polar(sunrise_h, _OUTER)
        large = int((sunrise_h - sunset_h) % 24 > 12)
        night = f"M0,0L{x0:.1f},{y0:.1f}A{_OUTER:.0f},{_OUTER:.0f} 0 {large} 1 {x1:.1f},{y1:.1f}Z"
    return Clock(path, night, text)


def _polar(hour: float, radius: float) -> tuple[float, float]:
    angle = 2 * pi * hour / 24
    return radius * sin(angle), -radius * cos(angle)


def spark(density: NDArray[np.floating], width: float = 96, height: float = 22) -> str:
    """SVG path of a small area chart from midnight to midnight."""
    samples = density[:: MINUTES // 48]
    top = max(float(samples.max()), 1e-9)
    points = [(width * i / 48, height - height * float(value) / top) for i, value in enumerate([*samples, samples[0]])]
    return f"M0,{height}L" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points) + f"L{width},{height}Z"


def curve(
    points: Sequence[tuple[float, float]],
    estimate: float,
    low: float,
    high: float,
    width: float = 520,
    height: float = 190,
) -> Curve:
    """A rising line with an estimate and its interval as a band."""
    shown_high = min(high, 2.0 * max(estimate, points[-1][1]))  # a very wide interval must not flatten the curve
    y_values = nice_ticks(max(shown_high, points[-1][1]), 4)
    x_values = nice_ticks(points[-1][0], 5)
    right, top = points[-1][0], y_values[-1]

    def x(value: float) -> float:
        return width * value / right

    def y(value: float) -> float:
        return height - height * min(value, top) / top

    path = f"M0,{height:.1f}L" + "L".join(f"{x(days):.1f},{y(species):.1f}" for days, species in points)
    band = Bar(0, y(shown_high), width, max(y(low) - y(shown_high), 1), "") if high > low else None
    return Curve(
        width,
        height,
        path,
        band,
        y(estimate) if estimate > points[-1][1] else None,
        tuple(Tick(x(value), number(value)) for value in x_values if value <= right),
        tuple(Tick(y(value), number(value)) for value in y_values),
    )


@dataclass(frozen=True, slots=True)
class Dot:
    """A camera on the map."""

    x: float
    y: float
    radius: float
    name: str
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Map:
    """Cameras by their coordinates, north up, no background."""

    width: float
    height: float
    dots: tuple[Dot, ...]
    scale_px: float
    scale_text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A camera on the map."""

    name: str
    latitude: float
    longitude: float
    events: int
    text: str
    """For the tooltip."""


def camera_map(places: Sequence[Place], width: float = 520, largest_height: float = 420) -> Map | None:
    """Dots whose area follows the events; `None` for fewer than two places."""
    if len({(place.latitude, place.longitude) for place in places}) < 2:
        return None
    latitudes = np.array([place.latitude for place in places])
    longitudes = np.array([place.longitude for place in places])
    middle = float(np.mean(latitudes))
    km_x = (longitudes - longitudes.min()) * 111.32 * cos(middle * pi / 180)
    km_y = (latitudes.max() - latitudes) * 110.57
    margin = 44.0
    scale = min(
        (width - 2 * margin) / max(float(km_x.max()), 1e-6),
        (largest_height - 2 * margin) / max(float(km_y.max()), 1e-6),
    )
    height = float(km_y.max()) * scale + 2 * margin
    left = (width - float(km_x.max()) * scale) / 2
    most = max([place.events for place in places] + [1])
    dots = tuple(
        Dot(
            left + float(x) * scale,
            margin + float(y) * scale,
            4 + 12 * (place.events / most) ** 0.5,
            place.name,
            place.text,
            "end" if left + float(x) * scale > width * 0.7 else "start",
        )
        for place, x, y in zip(places, km_x, km_y, strict=True)
    )
    target = width / 5 / scale
    power = 10 ** floor(log10(target))
    length = max(power * f for f in (1, 2, 5) if power * f <= target)
    text = f"{length:g} km" if length >= 1 else f"{length * 1000:g} m"
    return Map(width, height, dots, length * scale, text)


def period_bins(first_day: int, last_day: int) -> tuple[list[int], str]:
    """Edges (days, one more than bins) that cut a period into days, weeks or months, and the word for one bin."""
    span = last_day - first_day + 1
    if span <= 100:
        return list(range(first_day, last_day + 2)), "day"
    if span <= 750:
        start = first_day - (first_day + 3) % 7  # 1970-01-01 was a Thursday: weeks begin on Monday
        return [*range(start, last_day + 1, 7), start + 7 * ceil((last_day + 1 - start) / 7)], "week"
    first, last = (np.datetime64(day, "D").astype("datetime64[M]") for day in (first_day, last_day))
    months = np.arange(first, last + 2)
    return [int(day) for day in months.astype("datetime64[D]").astype(np.int64)], "month"


def month_ticks(edges: Sequence[int]) -> list[tuple[float, str]]:
    """(place among the bins, text) where days, months or years begin, as the period asks for."""
    first, last = edges[0], edges[-1]
    days = np.arange(first, last)
    dates = days.astype("datetime64[D]")
    unit = "Y" if last - first > 1100 else "M"
    starts = days[dates == dates.astype(f"datetime64[{unit}]").astype("datetime64[D]")]
    if last - first <= 45:
        unit, starts = "D", days[:: max(1, (last - first) // 6)]
    starts = starts[:: max(1, -(-len(starts) // 12))]
    place = np.interp(starts, edges, np.arange(len(edges)))
    texts = [_tick_text(day, unit, day == starts[0]) for day in starts.tolist()]
    return list(zip(place.tolist(), texts, strict=True))


def _tick_text(day: int, unit: str, first: bool) -> str:
    date = np.datetime64(day, "D").item()
    if unit == "D":
        return f"{date.day} {date:%b}"
    if unit == "Y":
        return f"{date:%Y}"
    return f"{date:%b} {date:%Y}" if first or date.month == 1 else f"{date:%b}"
