"""The short table that a run ends with."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Measured by `python baseline.py task=...` with the default data and seed 0.
BASELINES: dict[str, dict[str, float]] = {}


def print_summary(result: dict[str, Any], folder: Path) -> None:
    """Print accuracy, cost, where the run lies and what to type next."""
    console = Console(soft_wrap=True)
    table = Table(title=f"{result['task']} on {result['data']}", title_justify="left")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    prefix = "test/accuracy"
    for name, value in result.items():
        if name.startswith(prefix):
            label = name.removeprefix(prefix).lstrip("/") or "test"
            table.add_row(label, f"{100 * value:.2f} %")
    console.print(table)
    console.print(
        f"{result['num_parameters']:,} parameters, "
        f"{result['train_seconds']:.0f} s of training, {result['cpu_seconds']:.0f} CPU s in all"
    )
    console.print(f"run folder: {folder}")
    console.print(f"next: atlas show {folder}    python evaluate.py run={folder}")
