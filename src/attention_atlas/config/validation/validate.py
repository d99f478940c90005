"""Check a composed config for everything that can be known before torch is imported."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from attention_atlas.config.validation.devices import check_compiler, check_devices, check_processes
from attention_atlas.config.validation.files import check_checkpoint, check_init
from attention_atlas.config.validation.keys_and_values import (
    check_keys,
    check_named_classes,
    check_values,
)
from attention_atlas.config.validation.modality import check_data_source, check_fitting
from attention_atlas.config.validation.model import check_attention, check_patches
from attention_atlas.config.validation.training import (
    check_learning_rate_search,
    check_logger,
    check_monitors,
    check_recorded_epochs,
    check_sweeper,
)
from attention_atlas.errors import InputError


def check_config(
    config: DictConfig, reference: DictConfig, choices: Mapping[str, str | None]
) -> None:
    """Check a composed config: names, types, ranges, sizes, devices and files.

    Args:
        config: As composed.
        reference: The same group options with no value changed.
        choices: The option of each group.

    Raises:
        InputError: Something cannot be used; the message names the key or the file.
    """
    check_keys(config, reference)
    check_values(config, reference)
    check_named_classes(config)
    check_attention(config)
    check_fitting(config, choices, "embedding")
    check_fitting(config, choices, "augmentation")
    check_patches(config)
    check_monitors(config)
    check_recorded_epochs(config)
    check_logger(config)
    check_compiler(config)
    check_sweeper(config, choices)
    check_devices(config)
    check_processes(config)
    check_learning_rate_search(config)
    if config.callbacks.get("checkpoint") is None:
        raise InputError(
            "callbacks.checkpoint=null is not possible: the best checkpoint is what is tested."
        )
    if config.ckpt_path is not None:
        check_checkpoint(Path(config.ckpt_path), "ckpt_path")
    check_init(config)
    check_data_source(config)


def check_data(
    config: DictConfig, reference: DictConfig, choices: Mapping[str, str | None]
) -> None:
    """Check a config of which only the data counts; arguments and errors of `check_config`."""
    check_keys(config, reference)
    check_values(config, reference)
    check_named_classes(config)
    check_fitting(config, choices, "augmentation")
    check_data_source(config)
