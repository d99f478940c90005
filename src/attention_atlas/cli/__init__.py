"""The `atlas` command: look at the maps of finished runs.

Libraries are imported inside the commands that need them, so that help and errors come at once;
torch is imported only by commands that run the model of a run.
"""

from attention_atlas.cli.app import app, main

__all__ = ["app", "main"]
