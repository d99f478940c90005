"""Config nodes to the objects that they describe."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from attention_atlas.config.env_vars import kept_config
from attention_atlas.config.instantiate import instantiate, plain
from attention_atlas.config.validation import is_pretrained
from attention_atlas.data.base import PRETRAINED_FOLDER, AtlasDataModule
from attention_atlas.devices import precision_of
from attention_atlas.errors import InputError
from attention_atlas.pipeline.callbacks import (
    BestCheckpoint,
    EpochLogger,
    KeepEarlyStop,
    NonFiniteLoss,
    RngState,
    SignalHandler,
    Timing,
)
from attention_atlas.pipeline.distributed.cluster import launched
from attention_atlas.pipeline.distributed.fsdp import ShardedStrategy
from attention_atlas.pipeline.distributed.rank import is_first
from attention_atlas.pipeline.process import quiet_libraries
from attention_atlas.pipeline.runs.checkpoints import AtomicCheckpoints
from attention_atlas.run_folder import CHECKPOINTS
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
        datamodule.use_pretrained(name_of(config, run_folder or init))
    if run_folder is not None:
        datamodule.restore(run_folder)
    if init is not None:
        datamodule.restore_vocabulary(init)
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
        optimizer=_build_optimizer(config),
        schedule=instantiate(config.schedule),
        weight_decay=config.optimizer.weight_decay,
        label_smoothing=task["label_smoothing"],
        **model,
    )
    return built


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


def name_of(config: DictConfig, run_folder: Path | None = None) -> str:
    """Where the encoder comes from: a finished run keeps all but the weights.

    Raises:
        InputError: The run does not. It is looked for nowhere else: a run may be someone else's.
    """
    if run_folder is None:
        return str(config.encoder.name)
    kept = run_folder / PRETRAINED_FOLDER
    if not (kept / "config.json").is_file():
        raise InputError(f"{kept} does not tell of the pretrained encoder of the run.")
    return str(kept)


def build_classifier(
    options: dict[str, Any],
    attention: dict[str, Any],
    datamodule: AtlasDataModule,
    with_weights: bool,
) -> tuple[Any, dict[str, float]]:
    """A classifier around the pretrained encoder, and the learning rates of its parameters.

    Args:
        options: The encoder of the config.
        attention: Of the readout.
        datamodule: Set up, with the inputs of the encoder.
        with_weights: Whether to load the pretrained weights; a checkpoint brings its own.

    Raises:
        InputError: The encoder cannot be loaded, or does not fit the task.
    """
    # Loading transformers takes a while, which other encoders need not wait for.
    from attention_atlas.encoder.pretrained import PretrainedClassifier, PretrainedEncoder
    from attention_atlas.encoder.pretrained_inputs import build_inputs, has_cls
    from attention_atlas.encoder.readout import make_readout
    from attention_atlas.pretrained.source import load_model

    name = datamodule.pretrained_name
    assert name is not None
    model = load_model(name, datamodule.modality, with_weights)
    example = datamodule.prepare(datamodule.dummy_batch(), training=False)
    seconds = datamodule.clip_seconds
    backbone, inputs = build_inputs(model, datamodule.modality, example, seconds)
    if options["readout"] == "cls" and not has_cls(backbone, inputs, example):
        raise InputError(
            f"encoder.readout=cls needs a first token that stands for the whole input, and "
            f"{type(model).__name__} has none. Take encoder.readout=attention or mean."
        )
    if options["readout"] == "attention" and backbone.width % options["num_heads"]:
        fitting = [str(heads) for heads in range(1, 17) if backbone.width % heads == 0]
        raise InputError(
            f"encoder.num_heads={options['num_heads']} of the readout does not fit the encoder's "
            f"width of {backbone.width}: take one of {', '.join(fitting)}."
        )
    encoder = PretrainedEncoder(backbone, inputs, options["freeze"], options["lora"])
    try:
        readout = make_readout(
            options["readout"], backbone.width, options["num_heads"], attention, has_cls=True
        )
    except ValueError as error:
        raise InputError(f"The readout does not fit the encoder's width: {error}") from error
    classifier = PretrainedClassifier(
        encoder, readout, len(datamodule.classes), options["head_dropout"]
    )
    rates = encoder.learning_rates(options["lr"], options["layer_decay"])
    return classifier, {f"encoder.{name}": rate for name, rate in rates.items()}
