"""Small files of which tests make data sets."""

import csv
from pathlib import Path

import cv2
import numpy as np

from train.data.sample import Box

PIXELS = np.full((20, 40, 3), 120, np.uint8)


def write_image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), PIXELS)
    return path


def close(box: Box | None, expected: tuple[float, float, float, float]) -> bool:
    assert box is not None
    return bool(np.allclose((box.x, box.y, box.width, box.height), expected))


def write_csv(path: Path, *rows: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
