"""Predictions on held-out images, and the figures that are computed from them."""
