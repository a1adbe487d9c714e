"""Float graphs to int8: ranges, rounding, exact sums, fine-tuning."""
