"""Test a checkpoint, and record the attention of the model on the way."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from attention_atlas.analysis.confusion import Confusion
from attention_atlas.config.untrusted import read_run_config
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.build import build_task, build_trainer
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.callbacks import SignalHandler
from attention_atlas.pipeline.distributed.cluster import is_first
from attention_atlas.pipeline.evaluation_config import evaluation_config, names_other_files
from attention_atlas.pipeline.load_run import load_run, load_weights
from attention_atlas.pipeline.process import cpu_seconds
from attention_atlas.pipeline.recording.capture import build_capture
from attention_atlas.pipeline.runs.checkpoints import read_checkpoint
from attention_atlas.pipeline.runs.result import describe_run, print_evaluation, print_notes
from attention_atlas.run_folder import (
    ATLAS_FOLDER,
    CHECKPOINTS,
    RESULT,
    RESUME_HINT,
    best_checkpoint,
    is_unfinished,
)
from attention_atlas.tasks import ClassificationTask


def evaluate_checkpoint(
    config: DictConfig,
    checkpoint: Path,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    folder: Path,
    loggers: list[Logger],
    split: str = "test",
    epochs_trained: int | None = None,
) -> dict[str, Any]:
    """Load the weights of a checkpoint, test them on a split and write the atlas.

    Args:
        config: Config of the run.
        checkpoint: A checkpoint of Lightning, whose weights the task gets.
        task: The task of the config.
        datamodule: Set up.
        folder: Gets `atlas.zarr`.
        loggers: Get the metrics.
        split: `train`, `val` or `test`.
        epochs_trained: For the test after a training: it appends to the atlas of its epochs.

    Returns:
        The metrics by name, with the confusion matrix.

    Raises:
        InputError: The checkpoint does not fit the model of the config.
    """
    load_weights(task.model, checkpoint)
    path = folder / ATLAS_FOLDER
    is_new = not path.exists()
    capture = build_capture(config, checkpoint, path, task, datamodule, split, epochs_trained)
    callbacks = [SignalHandler(folder / CHECKPOINTS), *capture]
    trainer = build_trainer(config, folder, callbacks, loggers)
    datamodule.test_split = split
    try:
        trainer.test(task, datamodule=datamodule, verbose=False)  # type: ignore[arg-type]
    except BaseException:
        if is_new and is_first():  # the next test starts from scratch
            shutil.rmtree(path, ignore_errors=True)
        raise
    logged = {name: float(value) for name, value in sorted(trainer.logged_metrics.items())}
    return {
        **logged,
        "test/confusion_matrix": Confusion.of(task.classes, task.confusion).to_json(),
        "classes": task.classes,
    }


def has_new_files(run_folder: Path, run: DictConfig, checkpoint: Mapping[str, Any]) -> bool:
    """Whether an evaluation names files of the user that the run was not trained on.

    Files that were only moved since are not new: they are divided as they were.

    Args:
        run_folder: The run.
        run: Its config with the changes of the evaluation, which name other files.
        checkpoint: Its best checkpoint.

    Raises:
        InputError: The run cannot be rebuilt.
    """
    try:
        datamodule = build_datamodule(run, run_folder, checkpoint=checkpoint)
    except InputError:  # such as too few to be divided
        return True
    return not has_samples_of(datamodule, checkpoint)


def has_samples_of(datamodule: AtlasDataModule, checkpoint: Mapping[str, Any]) -> bool:
    """Whether the data has the samples, labels and splits that a checkpoint was trained on."""
    state = checkpoint.get(type(datamodule).__qualname__, {})
    return bool(state.get("samples") == datamodule.samples_digest())


def evaluate_run(
    config: DictConfig, folder: Path, choices: Mapping[str, str | None]
) -> dict[str, Any]:
    """Rebuild a finished run from its folder and test it; the run's own files stay as they are.

    Args:
        config: Composed from `conf/evaluate.yaml` and checked.
        folder: Gets `result.json`, whose content is returned, `metrics.csv` and `atlas.zarr`.
        choices: The option that was chosen of each group, None for the own one of the run.

    Raises:
        InputError: The checkpoint or the data does not fit the run.
    """
    run_folder, split = Path(config.run), str(config.split or "test")
    own = read_run_config(run_folder)
    run = evaluation_config(own, config, choices)
    run.run_folder = str(folder)
    checkpoint = best_checkpoint(run_folder)
    content = read_checkpoint(checkpoint)
    names_others = names_other_files(own, run)
    is_new = config.split is None and names_others and has_new_files(run_folder, run, content)
    loaded = load_run(run_folder, run, with_data=True, is_new=is_new)
    datamodule = loaded.datamodule
    if is_unfinished(run_folder):
        epoch = content.get("epoch")
        of_epoch = f" of epoch {epoch + 1}" if isinstance(epoch, int) else ""
        datamodule.notes.append(
            f"{run_folder} is unfinished: its checkpoint{of_epoch} is tested; {RESUME_HINT}"
        )
    if is_new and set(datamodule.datasets) == {"test"}:
        datamodule.notes.append(
            f"all samples of {run.data.path} are tested: the run was trained on other files"
        )
    if not has_samples_of(datamodule, content):
        if not names_others:
            datamodule.notes.append(
                "the data has changed since the run was trained: samples may have changed their "
                "split"
            )
        copies = datamodule.copies_of(content.get(type(datamodule).__qualname__, {}))
        datamodule.notes += [line for line in copies if line not in datamodule.notes]
    print_notes(datamodule)
    task = build_task(run, datamodule, loaded.model)
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    metrics = evaluate_checkpoint(run, checkpoint, task, datamodule, folder, loggers, split)
    described = describe_run(run, task, datamodule) | {"cpu_seconds": round(cpu_seconds(), 1)}
    result = {"run": str(run_folder), "split": split} | described
    result |= {name.replace("test/", f"{split}/", 1): value for name, value in metrics.items()}
    write_json(folder / RESULT, result)
    print_evaluation(result, folder)
    return result
