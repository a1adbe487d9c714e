"""Repair of damaged databases."""
