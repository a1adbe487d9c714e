"""Classify camera-trap frames on a field computer and keep records that a publication can stand on.

Three lines from a file to a decision:

>>> import edge
>>> classifier = edge.Classifier()
>>> classifier.classify("IMG_0001.JPG")  # doctest: +SKIP
Decision(kind='animal', taxon='Leporidae', ...)
"""

from typing import TYPE_CHECKING, Any

from edge.version import __version__

__all__ = ["Card", "Classifier", "Decision", "__version__"]

if TYPE_CHECKING:
    from edge.classifier import Classifier
    from edge.inference.card import Card
    from edge.inference.decision import Decision


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that `edge-classify --version` answers at once."""
    from importlib import import_module

    homes = {"Card": "edge.inference.card", "Classifier": "edge.classifier", "Decision": "edge.inference.decision"}
    if name in homes:
        return getattr(import_module(homes[name]), name)
    raise AttributeError(f"module 'edge' has no attribute {name!r}")
