"""Labelled images: readers, checks, splits and the cache of decoded pixels."""
