"""Formats that edge-report writes, one module for each."""
