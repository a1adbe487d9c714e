"""Which values a setting may have, said with its type: `flip: Share`."""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Range:
    """Of a number, or of each number of a pair, which then are given the smaller one first."""

    least: float
    most: float = math.inf
    without_least: bool = False
    without_most: bool = False

    def holds(self, value: float) -> bool:
        """Neither NaN nor an infinite number is in any range."""
        above = self.least < value if self.without_least else self.least <= value
        below = value < self.most if self.without_most else value <= self.most
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        low = f"{'more than' if self.without_least else 'at least'} {self.least:g}"
        if self.most == math.inf:
            return low
        if not self.without_least and not self.without_most:
            return f"{self.least:g} to {self.most:.10g}"
        return f"{low} and {'less than' if self.without_most else 'at most'} {self.most:g}"


Share = Annotated[float, Range(0, 1)]
ShareBelowOne = Annotated[float, Range(0, 1, without_most=True)]
Amount = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, without_least=True)]
Pair = Annotated[tuple[float, float], Range(0, without_least=True)]
Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
