"""The metrics.csv of a run that is resumed in its own folder."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger

from attention_atlas.run_folder import METRICS

STORED = f".{METRICS}.kept"


def continue_metrics(logger: CSVLogger, folder: Path, checkpoint: dict[str, Any]) -> None:
    """Let a logger append to the rows before the checkpoint; later rows are logged again.

    Lightning removes an existing file, so its rows are stored in another one in the meantime.
    """
    loop = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]
    stored = folder / STORED
    if not stored.is_file():
        if not (folder / METRICS).is_file():
            return
        _write_rows(folder / METRICS, stored, before_step=loop["_batches_that_stepped"])
    writer = logger.experiment  # removes the file
    with stored.open(newline="", encoding="utf-8") as file:
        writer.metrics_keys = list(csv.DictReader(file).fieldnames or [])
    os.replace(stored, folder / METRICS)


def _write_rows(source: Path, target: Path, before_step: int) -> None:
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if _step(row) < before_step]
        names = list(reader.fieldnames or [])
    draft = target.with_name(f"{target.name}.draft")
    with draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, target)


def _step(row: dict[str, str]) -> float:
    try:
        return float(row["step"])
    except (KeyError, TypeError, ValueError):  # half a row
        return float("inf")
