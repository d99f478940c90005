"""The life of a run folder: lock, resume, checkpoints, result, cleanup."""
