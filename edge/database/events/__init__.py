"""Bursts and events: grouping frames, the event table, and when it is brought up to date."""
