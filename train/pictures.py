"""Pictures of a run's figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from train.calibration import Reliability, coverage_precision

_INK, _ACCENT, _PALE = "#222222", "#1b6e53", "#c9ddd4"


def draw_confusion(table: NDArray[np.int64], labels: Sequence[str], path: Path) -> None:
    """Rows are truths, shaded by share of the row; counts are written while they can be read."""
    shares = table / np.maximum(1, table.sum(1, keepdims=True))
    side = min(16.0, 2.5 + 0.55 * len(labels))
    figure, axes = _canvas(side + 1.0, side)
    image = axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true label")
    size = 10 if len(labels) <= 12 else max(3, 300 // len(labels))
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    if len(labels) <= 25:
        for row in range(len(labels)):
            for column in range(len(labels)):
                if table[row, column]:
                    shade = "white" if shares[row, column] > 0.6 else _INK
                    axes.text(
                        column, row, str(table[row, column]), ha="center", va="center", color=shade, fontsize=size
                    )
    _save(figure, path)


def draw_reliability(measured: Reliability, path: Path) -> None:
    """Accuracy over confidence; on the diagonal the model is as sure as it is right."""
    figure, axes = _canvas(5, 5)
    axes.plot([0, 1], [0, 1], color=_PALE, linewidth=2)
    sizes = 20 + 200 * np.array(measured.count) / max(1, max(measured.count, default=1))
    axes.plot(measured.confidence, measured.accuracy, color=_ACCENT, linewidth=1)
    axes.scatter(measured.confidence, measured.accuracy, s=sizes, color=_ACCENT)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        title=f"calibration error {measured.error:.3f}",
    )
    _save(figure, path)


def draw_coverage(probabilities: NDArray[np.float64], truth: NDArray[np.int64], path: Path) -> None:
    """How precise the answers are when only the most confident share is answered."""
    coverage, precision = coverage_precision(probabilities, truth)
    figure, axes = _canvas(6, 4)
    axes.plot(coverage, precision, color=_ACCENT)
    axes.set(xlim=(0, 1), ylim=(min(0.5, float(precision.min())), 1.01), xlabel="coverage", ylabel="precision")
    axes.grid(color=_PALE, linewidth=0.5)
    _save(figure, path)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Without pyplot: nothing global, no window system."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
