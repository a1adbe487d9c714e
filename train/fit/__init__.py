"""Fitting a network: the training loop, learning rates, losses and augmentation."""
