"""What training pictures go through. Evaluation never passes here: it sees what the device sees."""
