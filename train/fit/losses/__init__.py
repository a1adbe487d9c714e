"""What is minimised: classification, metric learning, attention; and their sum."""
