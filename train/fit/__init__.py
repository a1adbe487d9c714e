"""Fitting: the loop, learning rates, losses and augmentation."""
