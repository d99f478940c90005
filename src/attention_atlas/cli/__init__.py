"""The `atlas` command: look at the maps of finished runs.

Libraries are imported inside the commands that need them, so that help and errors come at once;
torch is imported only by commands that run the model of a run.
"""

from attention_atlas.interrupts import exit_on_signals


def main() -> None:
    """Run the command."""
    exit_on_signals()
    from attention_atlas.cli.app import main as run

    run()
