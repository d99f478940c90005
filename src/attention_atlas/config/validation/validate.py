"""Check a composed config for everything that can be known before torch is imported."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from attention_atlas.config.allowlist import check_targets
from attention_atlas.config.plain import flat, resolved
from attention_atlas.config.validation.devices import check_compiler, check_devices, check_processes
from attention_atlas.config.validation.files import check_checkpoint, check_init
from attention_atlas.config.validation.model import check_attention, check_modality, check_patches
from attention_atlas.config.validation.schema import BaselineConfig, Task, TrainConfig, schema_of
from attention_atlas.config.validation.training import (
    check_learning_rate_search,
    check_logger,
    check_monitors,
    check_recorded_epochs,
    check_sweeper,
)
from attention_atlas.data.check import check_source
from attention_atlas.errors import InputError
from attention_atlas.option_schema import check_options
from attention_atlas.run_folder import BEST, CHECKPOINTS

FIXED = {
    "run_folder": (
        "${hydra:runtime.output_dir}",
        "It follows hydra.run.dir, which may be changed.",
    ),
    "callbacks.checkpoint.dirpath": (
        f"${{run_folder}}/{CHECKPOINTS}",
        "The best checkpoint is looked for in the run folder.",
    ),
    "callbacks.checkpoint.filename": (
        Path(BEST).stem,
        "The best checkpoint is looked for under that name.",
    ),
}
"""Values that other parts rely on, as conf/ has them, and why they stay."""


def check_fixed(config: Mapping[str, Any]) -> None:
    """Check that the values which other parts rely on were not changed.

    Args:
        config: Plain values as composed, with interpolations as they are written.

    Raises:
        InputError: One of them was changed.
    """
    values = flat(config)
    for key, (value, reason) in FIXED.items():
        if values.get(key, value) != value:
            shown = "null" if values[key] is None else values[key]
            raise InputError(f"{key}={shown} is not possible: it stays {value}. {reason}")


def check_config(
    config: DictConfig,
    choices: Mapping[str, str | None],
    complete: bool = True,
    is_divided: bool = True,
    checked_data: set[str] | None = None,
) -> None:
    """Check the config of a training: names, types, ranges, sizes, devices and files.

    Args:
        config: As composed.
        choices: The option of each group.
        complete: Whether all keys must be there; a run of an earlier version may lack some.
        is_divided: Whether the data must be enough for a training.
        checked_data: The data of earlier calls, whose files are not read again; it is extended.

    Raises:
        InputError: Something cannot be used; the message names the key or the file.
    """
    values = _check_values(config, choices, TrainConfig, complete)
    check_attention(config)
    check_patches(config)
    check_monitors(config)
    check_recorded_epochs(config)
    check_logger(config)
    check_compiler(config)
    check_sweeper(config, choices)
    check_devices(config)
    check_processes(config)
    check_learning_rate_search(config)
    if config.ckpt_path is not None:
        check_checkpoint(Path(config.ckpt_path), "ckpt_path")
    check_init(config)
    data = repr(values["data"])
    if checked_data is None or data not in checked_data:
        check_source(values["data"], is_divided)  # the last, as it may read all files
    if checked_data is not None:
        checked_data.add(data)


def check_data(config: DictConfig, choices: Mapping[str, str | None]) -> None:
    """Check the config of a baseline: names, types, ranges and files, as for `check_config`."""
    check_source(_check_values(config, choices, BaselineConfig, complete=True)["data"])


def _check_values(
    config: DictConfig,
    choices: Mapping[str, str | None],
    schema: type[BaselineConfig],
    complete: bool,
) -> dict[str, Any]:
    """Check names, types and ranges, and return the plain values."""
    values = resolved(config)
    check_targets(values)
    check_options(Task, values["task"], "task.", complete)
    check_modality(config, choices)
    check_options(schema_of(schema, values), values, complete=complete)
    return values
