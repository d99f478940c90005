"""What the tests of training read from its files."""

import csv
from pathlib import Path


def losses(folder: Path) -> dict[int, str]:
    """The training loss of each step, as it stands in metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        rows = csv.DictReader(file)
        return {int(row["step"]): row["train/loss"] for row in rows if row["train/loss"]}
