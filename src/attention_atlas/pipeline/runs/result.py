"""The description of a run in result.json."""

from importlib.metadata import version
from typing import Any

from omegaconf import DictConfig

from attention_atlas.attention_options import describe_mechanism
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.tasks import ClassificationTask

LIBRARIES = ("torch", "torchvision", "torchaudio", "lightning", "hydra-core", "attention-atlas")


def describe_run(
    config: DictConfig, task: ClassificationTask, datamodule: AtlasDataModule
) -> dict[str, Any]:
    """Return choices, sizes and library versions of a finished run, as plain values."""
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
        "versions": {name: version(name) for name in LIBRARIES},
    }
