"""Checkpoints that a killed process leaves whole, and the choice of the one to go on from."""

import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

LAST = "last.ckpt"
BEFORE_LAST = "before-last.ckpt"

log = logging.getLogger(__name__)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and moves it there once it is on the disk.

    The last checkpoint is kept as `before-last.ckpt` when a new one takes its place: a disk may
    lose what it has taken.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; at any moment the old one or the new one is there."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(BEFORE_LAST))
        draft.replace(path)


def is_whole(checkpoint: Path) -> bool:
    """Whether all of a checkpoint, which is a zip archive with checksums, can be read."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error):
        return False


def latest_checkpoint(run: Path) -> Path | None:
    """The checkpoint that a run goes on from; one that is damaged is passed over with a warning."""
    for name in (LAST, BEFORE_LAST):
        checkpoint = run / "checkpoints" / name
        if not checkpoint.is_file():
            continue
        if is_whole(checkpoint):
            return checkpoint
        log.warning("%s is damaged; the checkpoint before it is used.", checkpoint)
    return None
