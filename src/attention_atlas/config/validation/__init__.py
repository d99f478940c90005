"""What of a config is found out before anything is loaded: each mistake ends in one sentence."""

from attention_atlas.config.validation.files import check_checkpoint, check_run_folder
from attention_atlas.config.validation.keys_and_values import check_fixed
from attention_atlas.config.validation.modality import FITTING
from attention_atlas.config.validation.model import is_pretrained
from attention_atlas.config.validation.schema import MONITORED, RULES, check_rule
from attention_atlas.config.validation.validate import check_config, check_data

__all__ = [
    "FITTING",
    "MONITORED",
    "RULES",
    "check_checkpoint",
    "check_config",
    "check_data",
    "check_fixed",
    "check_rule",
    "check_run_folder",
    "is_pretrained",
]
