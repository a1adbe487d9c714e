"""The losses: classification, metric learning, attention, and their weighted sum."""
