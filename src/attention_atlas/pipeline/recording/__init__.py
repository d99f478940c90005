"""Recording of the model in a run."""
