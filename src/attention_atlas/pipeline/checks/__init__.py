"""What of a config is found out before anything is loaded: each mistake ends in one sentence."""

from attention_atlas.pipeline.checks.config import check_config, check_data
from attention_atlas.pipeline.checks.files import check_checkpoint, check_run_folder
from attention_atlas.pipeline.checks.modality import FITTING
from attention_atlas.pipeline.checks.model import is_pretrained
from attention_atlas.pipeline.checks.rules import MONITORED, RULES, check_rule
from attention_atlas.pipeline.checks.values import check_fixed

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
