"""Test a checkpoint, and record what the model attends to while it is tested."""

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build import build_datamodule, build_task, build_trainer
from attention_atlas.pipeline.capture import build_capture
from attention_atlas.pipeline.process import prepare_process
from attention_atlas.pipeline.rerun import best_checkpoint, evaluation_config, read_run
from attention_atlas.pipeline.result import describe_run, write_json
from attention_atlas.pipeline.summary import print_evaluation
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
    capture = build_capture(config, checkpoint, folder / "atlas.zarr", task, datamodule, split)
    trainer = build_trainer(config, folder, capture, loggers)
    datamodule.test_split = split
    trainer.test(task, datamodule=datamodule, verbose=False)
    logged = {name: float(value) for name, value in sorted(trainer.logged_metrics.items())}
    return {
        **logged,
        "test/confusion_matrix": task.confusion.compute().tolist(),
        "classes": task.classes,
    }


def evaluate_run(
    config: DictConfig, folder: Path, choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """Rebuild a finished run from its folder and test it; the run's own files stay as they are.

    Args:
        config: Composed from `conf/evaluate.yaml` and checked.
        folder: Gets `result.json`, `metrics.csv` and `atlas.zarr`.
        choices: The option that was chosen of each group, None where the run's own is kept.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: The checkpoint or the data does not fit the run.
    """
    run_folder, split = Path(config.run), str(config.split)
    run = evaluation_config(read_run(run_folder), config, choices)
    run.run_folder = str(folder)
    prepare_process(run)
    checkpoint = best_checkpoint(run_folder)
    content = read_checkpoint(checkpoint)
    datamodule = build_datamodule(run, run_folder)
    _check_classes(datamodule, run_folder)
    # What inputs are normalised by belongs to the model, also where the data is other data.
    datamodule.load_state_dict(content.get(type(datamodule).__qualname__, {}))
    task = build_task(run, datamodule)
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    metrics = evaluate_checkpoint(run, checkpoint, task, datamodule, folder, loggers, split)
    described = describe_run(run, task, datamodule, train_seconds=0.0)
    del described["train_seconds"]
    result = {"run": str(run_folder), "split": split} | described
    result |= {_of_split(name, split): value for name, value in metrics.items()}
    write_json(folder / "result.json", result)
    print_evaluation(result, folder)
    return result


def load_weights(task: ClassificationTask, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into a task.

    Raises:
        InputError: The file is no checkpoint, or its weights do not fit the model.
    """
    weights = read_checkpoint(checkpoint)["state_dict"]
    own = task.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        if name not in weights or name not in own or weights[name].shape != own[name].shape:
            raise InputError(
                f"{checkpoint} does not fit the config: {name} is {_shape(weights.get(name))} in "
                f"the checkpoint and {_shape(own.get(name))} in the model. "
                "Take the data, embedding, encoder and attention that it was trained with."
            )
    task.load_state_dict(weights)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        InputError: The file is none.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{path} cannot be read as a checkpoint: {reason}.") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise InputError(f"{path} is no checkpoint of train.py: it holds no state_dict.")
    return content


def _check_classes(datamodule: AtlasDataModule, run_folder: Path) -> None:
    """The data has the classes that the run was trained on, in the same order."""
    path = run_folder / "result.json"
    if not path.is_file():
        return  # the run was interrupted; a wrong number of classes is found with the weights
    classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
    if datamodule.classes != classes:
        raise InputError(
            f"data={datamodule.name} has the classes {_listed(datamodule.classes)}, and "
            f"{run_folder} was trained on {_listed(classes)}. They must be the same."
        )


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))


def _of_split(name: str, split: str) -> str:
    return f"{split}/{name.removeprefix('test/')}" if name.startswith("test/") else name
