"""From the command line to a checked config. Nothing here imports torch."""
