"""Whose decisions count, and decisions that are made again from what is stored."""
