"""A bounding box in fractions of a frame."""

from dataclasses import dataclass

from edge.image.resize import Pixels


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in fractions of the frame's width and height, 0..1, from its top left corner."""

    x: float
    y: float
    width: float
    height: float

    def cut(self, pixels: Pixels) -> Pixels:
        """The part of uint8[H, W, 3] inside the box; a view, never empty."""
        height, width = pixels.shape[:2]
        top, left = (min(round(at * side), side - 1) for at, side in ((self.y, height), (self.x, width)))
        bottom = max(top + 1, round((self.y + self.height) * height))
        right = max(left + 1, round((self.x + self.width) * width))
        return pixels[top:bottom, left:right]
