"""Train, test the best checkpoint, and save the result and the maps."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.tuner.tuning import Tuner
from omegaconf import DictConfig, OmegaConf

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.data.splits import stable_hash
from attention_atlas.errors import InputError
from attention_atlas.output_files import write_json
from attention_atlas.pipeline.baseline_cache import known_baseline
from attention_atlas.pipeline.build import (
    build_callbacks,
    build_loggers,
    build_task,
    build_trainer,
    close_loggers,
)
from attention_atlas.pipeline.build_model import build_datamodule
from attention_atlas.pipeline.callbacks import MedianPruning, Timing
from attention_atlas.pipeline.distributed.cluster import is_first, rank
from attention_atlas.pipeline.distributed.launcher import other_ranks
from attention_atlas.pipeline.evaluate import evaluate_checkpoint
from attention_atlas.pipeline.process import prepare_process, reset_cpu_seconds, seed
from attention_atlas.pipeline.recording.capture import build_epoch_capture
from attention_atlas.pipeline.runs.checkpoints import latest_checkpoint, read_checkpoint
from attention_atlas.pipeline.runs.result import (
    describe_run,
    num_tested,
    print_notes,
    print_summary,
)
from attention_atlas.pipeline.runs.training_files import continue_metrics
from attention_atlas.pipeline.weights import find_weights
from attention_atlas.run_folder import (
    ATLAS_FOLDER,
    FAITHFULNESS,
    RESULT,
    RESUME_HINT,
    best_checkpoint,
)
from attention_atlas.tasks import ClassificationTask


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Run one training from its checked config, and return the content of `result.json`.

    The run folder gets `checkpoints/`, `metrics.csv`, `result.json` and `atlas.zarr/`.

    Raises:
        InputError: The config, the data or a checkpoint cannot be used.
    """
    try:
        with other_ranks(config, folder):
            return _train(config, folder)
    finally:
        reset_cpu_seconds()  # each job of a multirun has its own count


def _train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Run one rank of a training; only the first one writes files."""
    prepare_process(config)
    weights = find_weights(config, folder)
    datamodule = build_datamodule(config, init=weights.run, checkpoint=weights.resumed())
    if is_first():
        print_notes(datamodule)
    task = build_task(config, datamodule, with_weights=weights.are_new)
    weights.load_into(task, datamodule)
    if not is_first():  # each rank draws its own dropout and augmentation
        seed(stable_hash("rank", config.seed, rank()) % 2**32)
    loggers = build_loggers(config, folder)
    if is_first():
        datamodule.save(folder)
        _resume_files(weights.checkpoint, folder, loggers, config)
    if config.lr_find:
        task.lr = _find_learning_rate(config, folder, task, datamodule)
    capture = build_epoch_capture(config, folder / ATLAS_FOLDER, task, datamodule)
    callbacks = [*build_callbacks(config), *capture]
    trainer = build_trainer(config, folder, callbacks, loggers)

    _fit(trainer, task, datamodule, weights.checkpoint, folder)
    is_pruned = any(isinstance(each, MedianPruning) and each.pruned for each in callbacks)
    tested = {"pruned": True} if is_pruned else _test(trainer, config, datamodule, folder)
    result = describe_run(config, task, datamodule) | _trained(trainer, callbacks) | tested
    if not is_pruned:
        result["baseline"] = _comparable_baseline(config, datamodule, trainer, result)
    return _report(result, folder, loggers)


def _find_learning_rate(
    config: DictConfig, folder: Path, task: ClassificationTask, datamodule: AtlasDataModule
) -> float:
    """Return the learning rate at which the loss falls steepest while the rate is raised.

    The weights are restored afterwards (Smith 2017, "Cyclical learning rates").

    Raises:
        InputError: The loss never fell.
    """
    endless = OmegaConf.merge(config, {"trainer": {"max_epochs": -1}})  # as many steps as it needs
    assert isinstance(endless, DictConfig)
    tuner = Tuner(build_trainer(endless, folder, [], []))
    finder = tuner.lr_find(task, datamodule=datamodule, update_attr=False)  # type: ignore[arg-type]
    found = None if finder is None else finder.suggestion()
    if found is None:
        raise InputError(
            "lr_find=true found no learning rate at which the loss falls; "
            "set optimizer.lr and leave lr_find out."
        )
    print(f"learning rate found: {found:.2g}")
    return float(found)


def _fit(
    trainer: Trainer,
    task: ClassificationTask,
    datamodule: AtlasDataModule,
    checkpoint: Path | None,
    folder: Path,
) -> None:
    """Train; an interrupt says how to resume if there is a checkpoint."""
    try:
        trainer.fit(task, datamodule, ckpt_path=checkpoint)
    except SystemExit:
        if not trainer.interrupted:
            raise
        saved = latest_checkpoint(folder) is not None
        raise KeyboardInterrupt(*([RESUME_HINT] if saved else [])) from None


def _test(
    trainer: Trainer, config: DictConfig, datamodule: AtlasDataModule, folder: Path
) -> dict[str, Any]:
    """Test the best checkpoint; return its metrics.

    Raises:
        InputError: There is none.
    """
    best = best_checkpoint(folder)
    if not best.is_file():
        raise InputError(
            "Training ended before the first validation, so there is no checkpoint to test; "
            "train longer, or validate more often with +trainer.val_check_interval."
        )
    task = trainer.lightning_module
    if config.trainer.strategy == "fsdp":  # this one has shards for weights
        task = build_task(config, datamodule, with_weights=False)
    assert isinstance(task, ClassificationTask)
    epochs = trainer.current_epoch
    return evaluate_checkpoint(
        config, best, task, datamodule, folder, trainer.loggers, epochs_trained=epochs
    )


def _comparable_baseline(
    config: DictConfig, datamodule: AtlasDataModule, trainer: Trainer, result: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the known baseline of the splits of which this run saw all samples; None without."""
    is_whole = {
        "val": sum(trainer.num_val_batches) == len(trainer.val_dataloaders or ()),
        "test": num_tested(result) >= result["num_test_samples"],
    }
    known = known_baseline(config, datamodule) or {}
    comparable = {
        name: value for name, value in known.items() if is_whole.get(name.split("/")[0], True)
    }
    return comparable if any("/" in name for name in comparable) else None


def _report(result: dict[str, Any], folder: Path, loggers: list[Logger]) -> dict[str, Any]:
    """Write and print the result; a pruned trial has no test."""
    close_loggers(loggers)
    if is_first():
        write_json(folder / RESULT, result)
        if result.get("pruned"):
            print(f"{folder} was ended early: earlier trials did better at the same epoch")
        else:
            print_summary(result, folder)
    return result


def _resume_files(
    checkpoint: Path | None, folder: Path, loggers: list[Logger], config: DictConfig
) -> None:
    """Cut the files of a resumed run back to its checkpoint."""
    if checkpoint is None:
        return
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            continue_metrics(logger, folder, read_checkpoint(checkpoint))
    for suffix in (".json", ".csv", ".png"):  # of earlier weights
        (folder / FAITHFULNESS).with_suffix(suffix).unlink(missing_ok=True)
    if config.capture.get("every_n_epochs") is None:
        # Only the test writes the atlas then, and all of the test is run again.
        shutil.rmtree(folder / ATLAS_FOLDER, ignore_errors=True)


def _trained(trainer: Trainer, callbacks: list[Callback]) -> dict[str, float]:
    """Return the times, and the score of the best checkpoint under the name of its metric."""
    (timing,) = (each for each in callbacks if isinstance(each, Timing))
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.best_model_score is None:
        return timing.so_far()
    return timing.so_far() | {str(best.monitor): float(best.best_model_score)}
