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


def square_around(box: Box, height_px: int, width_px: int, margin: float) -> Box:
    """The square around a box of a frame of that size, moved inside the frame; not higher or wider than the frame.

    `margin` is added on each side, as a share of the box's longer side.
    """
    side_px = max(box.width * width_px, box.height * height_px) * (1 + 2 * margin)
    width, height = min(side_px / width_px, 1.0), min(side_px / height_px, 1.0)
    x = min(max(box.x + box.width / 2 - width / 2, 0.0), 1 - width)
    y = min(max(box.y + box.height / 2 - height / 2, 0.0), 1 - height)
    return Box(x, y, width, height)
