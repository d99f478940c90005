"""What a run folder says beside its atlas."""

import json
import os
from pathlib import Path


def read_accuracy(run: Path) -> float | None:
    """Read the accuracy that a run reported, if it got that far."""
    try:
        accuracy = json.loads((run / "result.json").read_text(encoding="utf-8"))["test/accuracy"]
        return float(accuracy)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder and below."""
    size = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                size += folder_size(Path(entry.path))
            else:
                size += entry.stat().st_size
    return size
