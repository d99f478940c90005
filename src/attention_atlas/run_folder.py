"""The files of a run folder: their names, and how each is read."""

from pathlib import Path

RESULT = "result.json"


def is_finished(run: Path) -> bool:
    """Whether a run has its result."""
    return (run / RESULT).is_file()


def best_checkpoint(folder: Path) -> Path:
    """Where a run keeps the weights that were best on its validation split."""
    return folder / "checkpoints" / "best.ckpt"
