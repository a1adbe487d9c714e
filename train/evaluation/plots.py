"""Plots of a run's figures: confusion, reliability and coverage."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from train.evaluation.calibration import Reliability, coverage_precision

_MOST_COUNTED, _MOST_NAMED = 25, 200
"""Largest numbers of labels of a confusion table that is drawn with counts, and with names."""
_INK, _ACCENT, _PALE = "#222222", "#1b6e53", "#c9ddd4"


def draw_confusion(table: NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """Draw a confusion table: rows are true labels, shaded by share; counts and names are written where they are
    legible.
    """
    shares = table / np.maximum(1, table.sum(1, keepdims=True))
    counted, named = len(labels) <= _MOST_COUNTED, len(labels) <= _MOST_NAMED
    size_pt = 9 if counted else 7
    cell_in = max(0.45, 4 / len(labels)) if counted else 0.14 if named else 20 / len(labels)
    names = [shortened(label, 2.5, size_pt) for label in labels] if named else []
    beside_in = max((text_width_in(name, size_pt) for name in names), default=0.0) + 0.7
    side_in = cell_in * len(labels)
    figure, axes = _canvas(1.12 * side_in + beside_in + 1.0, side_in + beside_in)
    image = axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true label")
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, fontsize=size_pt, parse_math=False)
    axes.set_yticks(places, names, fontsize=size_pt, parse_math=False)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth" if named else "truth, from the top as in confusion.csv")
    if counted:
        # The longest number fills its cell.
        count_pt = min(size_pt, 72 * cell_in / (0.7 * len(str(table.max(initial=0)))))
        for row, column in zip(*np.nonzero(table), strict=True):
            shade = "white" if shares[row, column] > 0.6 else _INK
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color=shade, fontsize=count_pt)
    save(figure, path)


def draw_reliability(measured: Reliability, path: Path) -> None:
    """Draw accuracy over confidence; a calibrated model lies on the diagonal."""
    figure, axes = _canvas(5, 5)
    axes.plot([0, 1], [0, 1], color=_PALE, linewidth=2)
    sizes = 20 + 200 * np.array(measured.count) / max(1, max(measured.count, default=1))
    axes.plot(measured.confidence, measured.accuracy, color=_ACCENT, linewidth=1)
    axes.scatter(measured.confidence, measured.accuracy, s=sizes, color=_ACCENT, clip_on=False, zorder=3)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        title=f"calibration error {measured.error:.3f}",
    )
    save(figure, path)


def draw_coverage(probabilities: NDArray[np.float64], truth: NDArray[np.int64], path: Path) -> None:
    """Draw the precision of the most confident predictions over their share of all."""
    coverage, precision = coverage_precision(probabilities, truth)
    figure, axes = _canvas(6, 4)
    axes.plot(coverage, precision, color=_ACCENT)
    axes.set(xlim=(0, 1), ylim=(min(0.5, float(precision.min())), 1.01), xlabel="coverage", ylabel="precision")
    axes.grid(color=_PALE, linewidth=0.5)
    save(figure, path)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure without pyplot, which would need global state and a window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def is_figure(file: BinaryIO) -> bool:
    """Whether a file that is there says that it is a figure of this software."""
    return b"Software\0edge-classify" in file.read(256)


def save(figure: Figure, path: Path | BinaryIO, dpi: int = 110) -> None:
    """Write a PNG. A letter that the font lacks is drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=dpi, metadata={"Software": "edge-classify"})


def shortened(text: str, width_in: float, size_pt: float) -> str:
    """The text, with its middle left out where it is wider than `width_in` inches."""
    left = len(text)
    short = text
    while text_width_in(short, size_pt) > width_in and left > 2:
        left -= 1
        short = f"{text[: (left + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - left // 2 :]}"
    return short


def text_width_in(text: str, size_pt: float) -> float:
    """Width of the drawn text in inches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size_pt), ismath=False)
    return float(width) / 72
