"""Storage of the bytes of an atlas; above `atlas` only `run_folder` needs it."""
