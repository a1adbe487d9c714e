"""Capture folders: finding complete files, and the time at which each frame was taken."""
