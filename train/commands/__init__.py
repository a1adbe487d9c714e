"""The commands of `python -m train`: each reads its options and calls the modules that do the work."""
