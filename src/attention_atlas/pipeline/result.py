"""What a run is remembered by: result.json."""

import os
from importlib.metadata import version
from typing import Any

from omegaconf import DictConfig

from attention_atlas.combinations import describe_mechanism
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.tasks import ClassificationTask

_counted = 0.0

LIBRARIES = ("torch", "torchvision", "torchaudio", "lightning", "hydra-core", "attention-atlas")


def describe_run(
    config: DictConfig,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    train_seconds: float,
) -> dict[str, Any]:
    """Choices, sizes, cost and library versions of a finished run, as plain values."""
    sizes = {split: len(dataset) for split, dataset in datamodule.datasets.items()}
    return {
        "task": config.task.name,
        "data": config.data.name,
        "attention": describe_mechanism(config.attention),
        "encoder": config.encoder.name,
        "seed": config.seed,
        "num_parameters": task.num_parameters,
        "num_train_samples": sizes["train"],
        "num_val_samples": sizes["val"],
        "num_test_samples": sizes["test"],
        "train_seconds": round(train_seconds, 1),
        "cpu_seconds": round(cpu_seconds(), 1),
        "versions": {name: version(name) for name in LIBRARIES},
    }


def cpu_seconds() -> float:
    """User and system time of this process and its finished children, since it was asked last.

    So the first run of a process counts the imports too, and each job of a multirun its own time.
    """
    global _counted
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    spent, _counted = total - _counted, total
    return spent
