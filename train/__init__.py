"""Training: from labelled images to a checkpoint that `export` turns into a model for the device."""


class TrainError(Exception):
    """An expected failure; its text is one line with the fact, what was expected, and what to do next."""
