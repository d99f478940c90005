"""Files that a training writes and a resumed one continues: checkpoints and metrics.csv."""

import csv
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers import CSVLogger

from attention_atlas.config.allowlist import RENAMED
from attention_atlas.output_files import draft
from attention_atlas.run_folder import BEFORE_LAST, LAST, METRICS


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
        with draft(path) as unfinished:
            with unfinished.open("wb") as file:
                torch.save(checkpoint, file)
            if path.name == LAST and path.is_file():
                path.replace(path.with_name(BEFORE_LAST))

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, of an earlier version too."""
        return rename_callbacks(super().load_checkpoint(path, *args, **options))


def rename_callbacks(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Give the states of callbacks in a checkpoint the current names of their classes."""
    names = {old.rpartition(".")[2]: new.rpartition(".")[2] for old, new in RENAMED.items()}
    states = checkpoint.get("callbacks", {})
    return checkpoint | {"callbacks": {names.get(key, key): states[key] for key in states}}


STORED = f".{METRICS}.kept"


def continue_metrics(logger: CSVLogger, folder: Path, checkpoint: dict[str, Any]) -> None:
    """Let a logger append to the rows before the checkpoint; later rows are logged again.

    Lightning removes an existing file, so its rows are stored in another one in the meantime.
    """
    stored = folder / STORED
    if not stored.is_file():
        if not (folder / METRICS).is_file():
            return
        _write_rows(folder / METRICS, stored, before_step=checkpoint["global_step"])
    writer = logger.experiment  # removes the file
    with stored.open(newline="", encoding="utf-8") as file:
        writer.metrics_keys = list(csv.DictReader(file).fieldnames or [])
    os.replace(stored, folder / METRICS)


def _write_rows(source: Path, target: Path, before_step: int) -> None:
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if _step(row) < before_step]
        names = list(reader.fieldnames or [])
    with draft(target) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def _step(row: dict[str, str]) -> float:
    try:
        return float(row["step"])
    except (KeyError, TypeError, ValueError):  # half a row
        return float("inf")
