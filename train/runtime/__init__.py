"""What a training runs on: its processes and its log."""
