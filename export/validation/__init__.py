"""Calibration on labelled frames, run through the device's own code, and the proof that int8 lost nothing."""
