"""Export: from a checkpoint to one quantised, self-describing model file that carries the proof of its quantisation."""

import edge.inference.model  # noqa: F401 - switches the runtime's usage events off before anything here loads it


class ExportError(Exception):
    """An expected failure, in one line: the fact, what was expected, what to do next."""
