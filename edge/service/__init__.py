"""Files to logged decisions: the pipeline of a single run and the daemon behind --watch."""
