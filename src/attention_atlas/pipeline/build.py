"""Config nodes to the objects that they describe."""

import sys
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig, OmegaConf

from attention_atlas.data.base import AtlasDataModule
from attention_atlas.pipeline.callbacks import (
    Cost,
    EndsOnSignal,
    EpochLines,
    RandomStates,
    StaysStopped,
    StopsOnNonFinite,
)
from attention_atlas.pipeline.checkpoints import AtomicCheckpoints
from attention_atlas.pipeline.checks import is_pretrained
from attention_atlas.pipeline.devices import precision_of
from attention_atlas.pipeline.environment import kept_config
from attention_atlas.pipeline.instantiate import instantiate
from attention_atlas.pipeline.launched import launched
from attention_atlas.pipeline.pretrained import build_classifier, name_of
from attention_atlas.pipeline.quiet import quiet_libraries
from attention_atlas.pipeline.ranks import is_first
from attention_atlas.pipeline.sharding import ShardedStrategy
from attention_atlas.tasks import ClassificationTask


def build_datamodule(
    config: DictConfig,
    run_folder: Path | None = None,
    read: bool = True,
    init: Path | None = None,
) -> AtlasDataModule:
    """The data module of `data`, set up: read, checked and split.

    Args:
        config: As composed and checked.
        run_folder: An earlier run, whose data module kept there what it learned from its data.
        read: Whether to read the data; without it the module prepares what it is given.
        init: A run whose weights will be taken, though not its classes.
    """
    datamodule: AtlasDataModule = instantiate(config.data)
    if is_pretrained(config):
        datamodule.adopt(name_of(config, run_folder or init))
    if run_folder is not None:
        datamodule.restore(run_folder)
    if init is not None:
        datamodule.take_vocabulary(init)
    if read:
        datamodule.setup()
    return datamodule


def build_task(
    config: DictConfig, datamodule: AtlasDataModule, with_weights: bool = True
) -> ClassificationTask:
    """The task with a new model that fits the data.

    Args:
        config: As composed and checked.
        datamodule: Set up.
        with_weights: Whether a pretrained encoder gets its weights; a checkpoint brings its own.
    """
    encoder, attention = plain(config.encoder), plain(config.attention)
    if is_pretrained(config):
        classifier, rates = build_classifier(encoder, attention, datamodule, with_weights)
        model: dict[str, Any] = {"pretrained": classifier, "rates": rates}
    else:
        encoder.pop("name")
        embedding = plain(config.embedding)
        model = {"embedding": embedding, "encoder": encoder, "attention": attention}
    task = plain(config.task)
    task_class = DictConfig({"_target_": task["_target_"], "_partial_": True})
    built: ClassificationTask = instantiate(task_class)(
        datamodule=datamodule,
        optimizer=instantiate(config.optimizer),
        schedule=instantiate(config.schedule),
        weight_decay=config.optimizer.weight_decay,
        label_smoothing=task["label_smoothing"],
        **model,
    )
    return built


def build_callbacks(config: DictConfig) -> list[Callback]:
    """The callbacks of the config, those that are null left out, and those of every training."""
    chosen = [instantiate(node) for node in config.callbacks.values() if node is not None]
    return [
        StopsOnNonFinite(),  # before anything is saved
        *chosen,
        RandomStates(),
        Cost(),
        StaysStopped(),
        EpochLines(show=is_first() and not sys.stdout.isatty()),
        EndsOnSignal(Path(config.run_folder) / "checkpoints"),
    ]


def build_loggers(config: DictConfig, folder: Path) -> list[Logger]:
    """metrics.csv always, and the logger of the config beside it."""
    quiet_libraries()
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if config.logger and "_target_" in config.logger:
        logger: Logger = instantiate(config.logger)
        logger.log_hyperparams(kept_config(config))
        loggers.append(logger)
    return loggers


def close_loggers(loggers: list[Logger]) -> None:
    """End what a logger keeps open, or the next job of a multirun would go on with it."""
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
    place = launched()
    strategy = ShardedStrategy() if config.trainer.strategy == "fsdp" else config.trainer.strategy
    ranks = {} if place is None else {"devices": place.ranks_per_node, "num_nodes": place.num_nodes}
    trainer: Trainer = instantiate(
        config.trainer,
        **ranks,
        strategy=strategy,
        precision=precision_of(config),
        callbacks=[*callbacks, RichProgressBar()] if terminal else callbacks,
        enable_progress_bar=terminal,
        logger=loggers,
        default_root_dir=str(folder),
        plugins=[AtomicCheckpoints(), LightningEnvironment()],
    )
    return trainer


def plain(node: DictConfig) -> dict[str, Any]:
    """A config node as a plain dict, interpolations resolved."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
