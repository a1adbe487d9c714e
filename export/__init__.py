"""Export: from a checkpoint to one quantised, self-describing model file that carries the proof of its quantisation."""


class ExportError(Exception):
    """An expected failure, in one line: the fact, what was expected, what to do next."""
