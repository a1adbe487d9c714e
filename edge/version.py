"""The version of this software, as `--version` prints it and every run records it."""

__version__ = "0.2.0.dev0"
