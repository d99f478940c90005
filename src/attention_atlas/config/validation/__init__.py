"""Checks of a config before anything is loaded: each mistake gives one error message."""

from attention_atlas.config.validation.files import check_checkpoint, check_run_folder
from attention_atlas.config.validation.model import FITTING, TASKS, is_pretrained
from attention_atlas.config.validation.schema import MONITORED
from attention_atlas.config.validation.validate import check_config, check_data, check_fixed

__all__ = [
    "FITTING",
    "MONITORED",
    "TASKS",
    "check_checkpoint",
    "check_config",
    "check_data",
    "check_fixed",
    "check_run_folder",
    "is_pretrained",
]
