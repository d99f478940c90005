"""What the tests of training read from its files."""

import csv
from pathlib import Path

import torch


def losses(folder: Path) -> dict[int, str]:
    """The training loss of each step, as it stands in metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        rows = csv.DictReader(file)
        return {int(row["step"]): row["train/loss"] for row in rows if row["train/loss"]}


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights of the model in its last checkpoint, by name."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
