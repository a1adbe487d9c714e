"""Databases to columns in memory: one survey that every report works on."""
