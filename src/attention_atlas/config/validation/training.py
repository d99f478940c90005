"""Check validation, recording, searches and logs of a training."""

import importlib.util
from collections.abc import Mapping

from omegaconf import DictConfig

from attention_atlas.config.validation.model import is_pretrained
from attention_atlas.config.validation.schema import MONITORED
from attention_atlas.devices import num_processes
from attention_atlas.errors import InputError

SEARCHES = ("tpe", "grid")
"""Sweepers that draw values by Optuna."""

EXTRAS = {
    "TensorBoardLogger": ("tensorboard", "tensorboard"),
    "WandbLogger": ("wandb", "wandb"),
    "MLFlowLogger": ("mlflow", "mlflow"),
}
"""Logger class -> the package it imports, and the extra of this project that installs it."""


def check_monitors(config: DictConfig) -> None:
    """Check that the best checkpoint can be chosen, by a metric whose best value is taken."""
    every, epochs = config.trainer.get("check_val_every_n_epoch", 1), config.trainer.max_epochs
    if every > epochs:
        raise InputError(
            f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={epochs}: "
            "there is no validation to choose the best checkpoint by."
        )
    for name in ("checkpoint", "early_stopping"):
        node = config.callbacks.get(name)
        mode = None if node is None else MONITORED.get(node.get("monitor"))
        if mode is not None and node.get("mode") != mode:
            raise InputError(
                f"callbacks.{name}.mode={node.get('mode')} takes the worst {node.monitor} for the "
                f"best. Take callbacks.{name}.mode={mode}."
            )


def check_recorded_epochs(config: DictConfig) -> None:
    """Check that each recorded epoch is validated and has samples to record."""
    every = config.capture.get("every_n_epochs")
    if every is None or "dtype" not in config.capture:  # with capture=off nothing is recorded
        return
    trainer, setting = config.trainer, f"capture.every_n_epochs={every}"
    if every > trainer.max_epochs:
        raise InputError(
            f"{setting} is more than trainer.max_epochs={trainer.max_epochs}: no epoch would be "
            "recorded. Take less, or null."
        )
    if config.capture.num_samples == 0:
        raise InputError(
            f"{setting} records the samples that capture.num_samples chooses, and that is 0. Take "
            "capture.num_samples=1 or more, or capture.every_n_epochs=null."
        )
    validated = trainer.get("check_val_every_n_epoch", 1)
    if every % validated:
        raise InputError(
            f"{setting} asks for epochs that are not validated, with "
            f"trainer.check_val_every_n_epoch={validated}. Take a multiple of {validated}."
        )
    if trainer.get("val_check_interval") not in (None, 1.0):
        raise InputError(
            f"{setting} records when an epoch is over, and trainer.val_check_interval="
            f"{trainer.val_check_interval} validates within it. Leave one of the two out."
        )


def check_logger(config: DictConfig) -> None:
    """Check that the package of the chosen logger is installed."""
    target = str((config.logger or {}).get("_target_", "")).rpartition(".")[2]
    if target in EXTRAS:
        package, extra = EXTRAS[target]
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"logger={extra} needs the package {package}: "
                f'pip install "attention-atlas[{extra}]"'
            )


def check_sweeper(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Check that a search can run, and that pruning has one."""
    sweeper = choices.get("hydra/sweeper")
    if sweeper in SEARCHES and importlib.util.find_spec("optuna") is None:
        raise InputError(f'hydra/sweeper={sweeper} needs: pip install "attention-atlas[sweep]".')
    if sweeper == "basic" and config.callbacks.get("pruning") is not None:
        raise InputError(
            "callbacks=pruning needs a search, as by -m hydra/sweeper=tpe: add it, or leave "
            "pruning out."
        )


def check_learning_rate_search(config: DictConfig) -> None:
    """Check that there is one learning rate to look for, and one process that looks."""
    if not config.lr_find:
        return
    if num_processes(config) > 1:
        raise InputError(
            "lr_find=true takes one process: search with trainer.devices=1, and set optimizer.lr."
        )
    encoder = config.encoder
    if is_pretrained(config) and not (encoder.freeze == "all" and encoder.lora is None):
        raise InputError(
            "lr_find=true looks for one learning rate of all parameters, but those of a pretrained "
            "encoder have their own: set encoder.lr and optimizer.lr and leave lr_find out, or "
            "take encoder.freeze=all without encoder.lora."
        )
