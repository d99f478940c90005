"""Test a checkpoint, and record what the model attends to while it is tested."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_trainer
from attention_atlas.pipeline.capture import build_capture
from attention_atlas.tasks import ClassificationTask


def evaluate_checkpoint(
    config: DictConfig,
    checkpoint: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    folder: Path,
    loggers: list[Logger],
    split: str = "test",
) -> dict[str, Any]:
    """Load the weights of a checkpoint, test them on a split and write the atlas.

    Args:
        config: Of the run.
        checkpoint: A file that Lightning wrote.
        task: Gets the weights.
        datamodule: Set up.
        folder: Where `atlas.zarr` is written.
        loggers: Get the metrics.
        split: `train`, `val` or `test`.

    Returns:
        The metrics by name, with the confusion matrix.

    Raises:
        InputError: The checkpoint does not fit the model of the config.
    """
    load_weights(task, checkpoint)
    capture = build_capture(config, folder / "atlas.zarr", task, datamodule, split)
    trainer = build_trainer(config, folder, capture, loggers)
    datamodule.test_split = split
    trainer.test(task, datamodule=datamodule, verbose=False)
    logged = {name: float(value) for name, value in sorted(trainer.logged_metrics.items())}
    return {
        **logged,
        "test/confusion_matrix": task.confusion.compute().tolist(),
        "classes": task.classes,
    }


def load_weights(task: ClassificationTask, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a task.

    Raises:
        InputError: The file is no checkpoint, or its weights do not fit the model.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        task.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError, OSError, EOFError) as error:
        raise InputError(
            f"{checkpoint} does not fit the model of the config: {str(error).splitlines()[0]}"
        ) from error
