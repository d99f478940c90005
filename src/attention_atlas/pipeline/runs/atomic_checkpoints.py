"""Checkpoints that a killed process leaves whole."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from attention_atlas.config.allowlist import RENAMED
from attention_atlas.run_folder import BEFORE_LAST, LAST


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint as a draft, and renames it once it is on the disk.

    The last checkpoint is renamed to `before-last.ckpt` when a new one replaces it, because a disk
    may lose data that it has confirmed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; at any moment the old one or the new one exists."""
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

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, of an earlier version too."""
        return rename_callbacks(super().load_checkpoint(path, *args, **options))


def rename_callbacks(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Give the states of callbacks in a checkpoint the current names of their classes."""
    names = {old.rpartition(".")[2]: new.rpartition(".")[2] for old, new in RENAMED.items()}
    states = checkpoint.get("callbacks", {})
    return checkpoint | {"callbacks": {names.get(key, key): states[key] for key in states}}
