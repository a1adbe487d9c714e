"""What a person corrects afterwards, and the audit of every correction."""
