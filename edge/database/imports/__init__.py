"""Bringing what others found into a detections database: boxes of a detector, labels of people."""
