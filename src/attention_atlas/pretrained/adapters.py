"""LoRA adapters (Hu 2022) for a pretrained model, by `peft`."""

import importlib.util
from typing import Any

from transformers import PreTrainedModel

from attention_atlas.errors import InputError

OPTIONS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "bias",
    "use_rslora",
    "use_dora",
    "layers_to_transform",
    "layers_pattern",
    "init_lora_weights",
    "rank_pattern",
    "alpha_pattern",
)
"""Allowed options of `peft.LoraConfig`; others import modules, read files, or are not LoRA."""


def add_adapters(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Insert LoRA adapters into a model, and freeze its other parameters.

    Args:
        model: Changed in place.
        options: Options named in `OPTIONS`.

    Raises:
        InputError: `peft` is not installed, or does not take the options.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError('encoder.lora needs: pip install "attention-atlas[pretrained]".')
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise InputError(f"encoder.lora.{unknown[0]} is not possible: take {', '.join(OPTIONS)}.")
    from peft import LoraConfig, inject_adapter_in_model

    try:
        inject_adapter_in_model(LoraConfig(**options), model)
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"encoder.lora={options} is not possible: {reason}.") from error
