"""The commands of `python -m train`: each reads its options and calls the rooms that do the work."""
