"""Export: from a checkpoint to one quantised, self-describing model file that can prove it lost nothing."""


class ExportError(Exception):
    """An expected failure, said in one line: the fact, what was expected, what to do next."""
