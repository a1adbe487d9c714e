"""How a training runs: processes, log, resuming, the run folder."""
