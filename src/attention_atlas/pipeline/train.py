"""Train, test the best checkpoint, keep the result and the maps."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.splits import stable_hash
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.baseline_cache import known_baseline
from attention_atlas.pipeline.build import (
    build_callbacks,
    build_datamodule,
    build_loggers,
    build_task,
    build_trainer,
    close_loggers,
)
from attention_atlas.pipeline.callbacks import MedianPruning, Timing
from attention_atlas.pipeline.distributed.launcher import other_ranks
from attention_atlas.pipeline.distributed.rank import is_first, rank
from attention_atlas.pipeline.evaluate import evaluate_checkpoint
from attention_atlas.pipeline.exits import RESUME_HINT
from attention_atlas.pipeline.load_run import load_weights, start_from
from attention_atlas.pipeline.lr_finder import find_learning_rate
from attention_atlas.pipeline.process import prepare_process, reset_cpu_seconds
from attention_atlas.pipeline.recording.capture import build_epoch_capture
from attention_atlas.pipeline.runs.checkpoints import latest_checkpoint, read_checkpoint
from attention_atlas.pipeline.runs.metrics_csv import continue_metrics
from attention_atlas.pipeline.runs.result import describe_run
from attention_atlas.pipeline.runs.summary import print_summary
from attention_atlas.run_folder import ATLAS_FOLDER, RESULT, best_checkpoint
from attention_atlas.tasks import ClassificationTask


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Run one training from its composed config.

    Args:
        config: As composed and checked.
        folder: The run folder; gets `checkpoints/`, `metrics.csv`, `result.json`, `atlas.zarr/`.

    Returns:
        What `result.json` holds.

    Raises:
        InputError: Something that the user gave cannot be used.
    """
    try:
        with other_ranks(config, folder):
            return _train(config, folder)
    finally:
        reset_cpu_seconds()  # the next job of a multirun is counted anew


def _train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Be one rank of a training; the first one writes what a run has once."""
    prepare_process(config)
    own = latest_checkpoint(folder) if config.resume == "auto" else None
    init = None if config.init is None else Path(config.init)
    # Of weights, and of what tells of a pretrained encoder.
    source = init if own is None else folder
    datamodule = build_datamodule(config, init=source)
    task = build_task(config, datamodule, with_weights=source is None)
    if init is not None and own is None:
        start_from(task, datamodule, init)
    if not is_first():  # dropout and augmentation of each rank are its own
        seed_everything(stable_hash("rank", config.seed, rank()) % 2**32, verbose=False)
    if own is not None:
        _check_same_data(own, datamodule, folder)
    given = None if config.ckpt_path is None else Path(config.ckpt_path)
    checkpoint = own or given
    if checkpoint is not None:
        load_weights(task, checkpoint)  # tells what does not fit; fit() loads the rest
    if is_first():
        datamodule.save(folder)
    loggers = build_loggers(config, folder)
    if checkpoint is not None and is_first():
        _continue_files(checkpoint, folder, loggers, config)
    if config.lr_find:
        task.lr = find_learning_rate(config, folder, task, datamodule)
    capture = build_epoch_capture(config, folder / ATLAS_FOLDER, task, datamodule)
    callbacks = [*build_callbacks(config), *capture]
    trainer = build_trainer(config, folder, callbacks, loggers)

    _fit(trainer, task, datamodule, checkpoint, folder)
    if any(isinstance(each, MedianPruning) and each.pruned for each in callbacks):
        described = describe_run(config, task, datamodule) | _take_cost(callbacks)
        return _keep_pruned(described | _validation(trainer), folder, loggers)

    best = best_checkpoint(folder)
    if not best.is_file():
        raise InputError(
            "Training ended before the first validation, so there is no checkpoint to test; "
            "train longer, or validate more often with +trainer.val_check_interval."
        )
    if config.trainer.strategy == "fsdp":  # the weights of this one are shards
        task = build_task(config, datamodule, with_weights=False)
    metrics = evaluate_checkpoint(
        config, best, task, datamodule, folder, loggers, epochs_trained=trainer.current_epoch
    )
    described = describe_run(config, task, datamodule) | _take_cost(callbacks)
    result = described | _validation(trainer) | metrics
    close_loggers(loggers)
    result["baseline"] = known_baseline(config, datamodule)
    if is_first():
        write_json(folder / RESULT, result)
        print_summary(result, folder)
    return result


def _take_cost(callbacks: list[Callback]) -> dict[str, float]:
    """What the run took."""
    (cost,) = (each for each in callbacks if isinstance(each, Timing))
    return cost.so_far()


def _fit(
    trainer: Trainer,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    checkpoint: Path | None,
    folder: Path,
) -> None:
    """Train; an interrupt says what was kept."""
    try:
        trainer.fit(task, datamodule, ckpt_path=checkpoint)
    except SystemExit:
        if not trainer.interrupted:
            raise
        kept = latest_checkpoint(folder) is not None
        raise KeyboardInterrupt(*([RESUME_HINT] if kept else [])) from None


def _keep_pruned(result: dict[str, Any], folder: Path, loggers: list[Logger]) -> dict[str, Any]:
    """End a trial that was hopeless: it has no test."""
    close_loggers(loggers)
    result["pruned"] = True
    if is_first():
        write_json(folder / RESULT, result)
        print(f"{folder} was ended early: earlier trials did better at the same epoch")
    return result


def _check_same_data(own: Path, datamodule: AtlasDataModule, folder: Path) -> None:
    """Refuse to go on with a run on other data than it was begun with."""
    state = read_checkpoint(own).get(type(datamodule).__qualname__, {})
    if state.get("samples") != datamodule.samples_digest():
        raise InputError(
            f"The data has changed since {folder} was begun, and samples may have changed "
            "their split: leave resume=auto out, or take another folder."
        )


def _continue_files(
    checkpoint: Path, folder: Path, loggers: list[Logger], config: DictConfig
) -> None:
    """Go on with what the run has written, up to the checkpoint."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            continue_metrics(logger, folder, read_checkpoint(checkpoint))
    if config.capture.get("every_n_epochs") is None:
        # Nothing but the test writes it then, and the test is done again as a whole.
        shutil.rmtree(folder / ATLAS_FOLDER, ignore_errors=True)


def _validation(trainer: Trainer) -> dict[str, float]:
    """What the best checkpoint was chosen by."""
    checkpoint = trainer.checkpoint_callback
    if not isinstance(checkpoint, ModelCheckpoint) or checkpoint.best_model_score is None:
        return {}
    return {str(checkpoint.monitor): float(checkpoint.best_model_score)}
