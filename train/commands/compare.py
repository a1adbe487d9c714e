"""`python -m train compare RUN RUN`: compares the second run with the first on the images that both held out."""

from collections.abc import Sequence
from pathlib import Path

from edge.commands.runner import Parser
from train.evaluation.comparison import compare
from train.evaluation.predictions import load_predictions


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    parser = Parser(prog="python -m train compare", description="Compare two runs, paired by image.")
    parser.add_argument("first", type=Path, help="run folder")
    parser.add_argument("second", type=Path, help="run folder")
    options = parser.parse_args(argv)
    found = compare(load_predictions(options.first), load_predictions(options.second))
    gains = (("accuracy", found.accuracy, found.accuracy_gain), ("macro-F1", found.macro_f1, found.macro_f1_gain))
    print(f"{found.images} images held out by both")
    for name, (before, after), gain in gains:
        print(f"{name:<9} {before:.3f} -> {after:.3f}   gain {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
    print(f"{found.won} images won, {found.lost} lost (exact McNemar p = {found.p_value:.3g})")
    for label, (before, after) in found.recall.items():
        print(f"  recall {label:<28} {before:.3f} -> {after:.3f}")
    return 0
