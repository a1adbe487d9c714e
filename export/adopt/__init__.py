"""Models made elsewhere, rewritten to our input and output."""
