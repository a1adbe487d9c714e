"""Training: from labelled images to a checkpoint that `export` turns into a model for the device."""


class TrainError(Exception):
    """An expected failure, said in one line: the fact, what was expected, what to do next."""
