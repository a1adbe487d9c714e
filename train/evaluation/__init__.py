"""Predictions on images that were held out, and every figure worked out of them."""
