"""Draws small photographs of three kinds of animal for tests that train: shapes that a network can learn."""

import csv
from pathlib import Path

import cv2
import numpy as np

LABELS = ("disc", "bar", "cross")


def draw_animal(label: str, rng: np.random.Generator, size_px: int = 64) -> np.ndarray:
    """uint8[S, S, 3]: the label's shape somewhere on a noisy background."""
    image = rng.integers(60, 120, (size_px, size_px, 3)).astype(np.uint8)
    x, y = (int(value) for value in rng.integers(size_px // 3, 2 * size_px // 3, 2))
    r = size_px // 5
    colour = tuple(int(value) for value in rng.integers(180, 255, 3))
    if label == "disc":
        cv2.circle(image, (x, y), r, colour, -1)
    elif label == "bar":
        cv2.rectangle(image, (x - 2 * r, y - r // 3), (x + 2 * r, y + r // 3), colour, -1)
    else:
        cv2.line(image, (x - r, y - r), (x + r, y + r), colour, r // 2)
        cv2.line(image, (x - r, y + r), (x + r, y - r), colour, r // 2)
    return image


def write_animals(folder: Path, each: int, seed: int = 0, locations: int = 4) -> Path:
    """`manifest.csv` with `each` images a label over `locations` places of two sequences; the table's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in LABELS:
        for number in range(each):
            path = folder / label / f"{number:03d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), draw_animal(label, rng))
            place = number % locations
            rows.append([f"{label}/{path.name}", label, f"s{place}", f"s{place}-{number // locations % 2}", 64, 64])
    table = folder / "manifest.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "site", "event", "width_px", "height_px"])
        writer.writerows(rows)
    return table
