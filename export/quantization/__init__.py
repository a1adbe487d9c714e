"""Turns float graphs into int8 ones: activation ranges, rounding of weights, reproducible sums, fine-tuning."""
