"""The detections database: schema, the one writer, events, corrections, recovery and imports."""
