"""Labelled frames through the device's own pipeline: calibration, thresholds, the int8 gate."""
