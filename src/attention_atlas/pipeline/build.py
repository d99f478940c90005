"""Config nodes to the objects that they describe."""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from attention_atlas.config.instantiate import instantiate
from attention_atlas.config.plain import plain, saved_config
from attention_atlas.console import TerminalOutput
from attention_atlas.data.base import AtlasDataModule
from attention_atlas.devices import precision_of
from attention_atlas.encoder import Classifier
from attention_atlas.errors import InputError
from attention_atlas.pipeline.build_model import build_model
from attention_atlas.pipeline.callbacks import (
    BestCheckpoint,
    EpochBar,
    EpochLogger,
    KeepEarlyStop,
    NonFiniteLoss,
    RngState,
    SignalHandler,
    Timing,
)
from attention_atlas.pipeline.distributed.cluster import find_cluster, is_first
from attention_atlas.pipeline.distributed.fsdp import ShardedStrategy
from attention_atlas.pipeline.process import quiet_libraries
from attention_atlas.pipeline.runs.training_files import AtomicCheckpoints
from attention_atlas.run_folder import CHECKPOINTS
from attention_atlas.tasks import ClassificationTask


def build_task(
    config: DictConfig,
    datamodule: AtlasDataModule,
    model: Classifier | None = None,
    with_weights: bool = True,
) -> ClassificationTask:
    """Return the task of a config, with a new model for training unless there is one to test."""
    rates: dict[str, float] = {}
    if model is None:
        model, rates = build_model(config, datamodule, with_weights)
    task = plain(config.task)
    task_class = DictConfig({"_target_": task["_target_"], "_partial_": True})
    built: ClassificationTask = instantiate(task_class)(
        model=model,
        classes=datamodule.classes,
        rates=rates,
        optimizer=_build_optimizer(config),
        schedule=instantiate(config.schedule),
        weight_decay=config.optimizer.weight_decay,
        label_smoothing=task["label_smoothing"],
        class_weights=_class_weights(datamodule) if task.get("class_weights") else None,
    )
    return built


def _class_weights(datamodule: AtlasDataModule) -> list[float] | None:
    """Return the weight of each class: N / (C N_c), by which all count alike in the loss."""
    if "train" not in datamodule.datasets:  # to be tested only
        return None
    labels = datamodule.datasets["train"].labels
    counts, num_classes = Counter(labels), len(datamodule.classes)
    return [len(labels) / (num_classes * max(counts[index], 1)) for index in range(num_classes)]


def _build_optimizer(config: DictConfig) -> partial[Any]:
    """The optimizer, still without parameters.

    Raises:
        InputError: It refuses its options, as a trial over one parameter shows.
    """
    optimizer: partial[Any] = instantiate(config.optimizer)
    try:
        optimizer([torch.zeros(1, requires_grad=True)])
    except (RuntimeError, TypeError, ValueError) as error:
        name = config.optimizer._target_
        raise InputError(f"The optimizer {name} cannot be built: {error}") from error
    return optimizer


def build_callbacks(config: DictConfig) -> list[Callback]:
    """Return the callbacks of the config that are not null, and those of every training."""
    chosen = [instantiate(node) for node in config.callbacks.values() if node is not None]
    last = [each.last for each in chosen if isinstance(each, BestCheckpoint) and each.last]
    return [
        NonFiniteLoss(),  # before anything is saved
        *chosen,
        *last,
        RngState(),
        Timing(),
        KeepEarlyStop(),
        EpochLogger(show=is_first() and not sys.stdout.isatty()),
        SignalHandler(Path(config.run_folder) / CHECKPOINTS),
    ]


def build_loggers(config: DictConfig, folder: Path) -> list[Logger]:
    """metrics.csv always, and the logger of the config beside it."""
    quiet_libraries()
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.logger and "_target_" in config.logger:
        logger: Logger = instantiate(config.logger)
        logger.log_hyperparams(saved_config(config))
        loggers.append(logger)
    return loggers


def close_loggers(loggers: list[Logger]) -> None:
    """Close a logger, or the next job of a multirun would continue its run."""
    for logger in loggers:
        finish = getattr(getattr(logger, "experiment", None), "finish", None)  # of Weights & Biases
        if finish is not None:
            finish()


def build_trainer(
    config: DictConfig, folder: Path, callbacks: list[Callback], loggers: list[Logger]
) -> Trainer:
    """The Lightning trainer of a run folder; a progress bar where the output is a terminal."""
    quiet_libraries()
    terminal = sys.stdout.isatty()
    bars = [EpochBar(console_kwargs={"file": TerminalOutput(sys.stdout)})] if terminal else []
    cluster = find_cluster()
    strategy = ShardedStrategy() if config.trainer.strategy == "fsdp" else config.trainer.strategy
    ranks: dict[str, int] = {}
    if cluster is not None:
        ranks = {"devices": cluster.ranks_per_node, "num_nodes": cluster.num_nodes}
    trainer: Trainer = instantiate(
        config.trainer,
        **ranks,
        strategy=strategy,
        precision=precision_of(config),
        callbacks=[*callbacks, *bars],
        enable_progress_bar=terminal,
        logger=loggers,
        default_root_dir=str(folder),
        plugins=[AtomicCheckpoints(), LightningEnvironment()],
    )
    return trainer
