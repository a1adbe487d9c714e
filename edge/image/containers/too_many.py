"""What a file is made of too many parts of."""


class TooManyParts(ValueError):
    """Chunks or directories that are whole, and so many that only to walk over them would take minutes."""
