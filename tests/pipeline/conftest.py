"""Training inside the test process, from composed configs."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from attention_atlas.pipeline.train import train


@pytest.fixture(scope="session")
def compose_train(repository: Path) -> Callable[..., DictConfig]:
    """Compose the config that `python train.py` would run."""

    def compose_config(overrides: list[str], folder: Path) -> DictConfig:
        with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
            return compose("train", [*overrides, f"run_folder={folder}"])

    return compose_config


@pytest.fixture(scope="session")
def run_training(compose_train: Callable[..., DictConfig]) -> Callable[..., dict[str, Any]]:
    """Train in this process and give what result.json holds."""

    def run(overrides: list[str], folder: Path) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        return train(compose_train(overrides, folder), folder)

    return run


def losses(folder: Path) -> dict[int, str]:
    """The training loss of each step, as it stands in metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        rows = csv.DictReader(file)
        return {int(row["step"]): row["train/loss"] for row in rows if row["train/loss"]}
