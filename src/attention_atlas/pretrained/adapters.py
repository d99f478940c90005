"""Train small matrices beside those of a pretrained model (LoRA, Hu 2022), by `peft`."""

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
"""Of `peft.LoraConfig`; the others name modules to import, files to read, or what is not LoRA."""


def add_adapters(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Put LoRA matrices into a model; nothing else of it is trained from then on.

    Args:
        model: Changed in place.
        options: Those of `OPTIONS`.

    Raises:
        InputError: `peft` is not installed, or does not take the options.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError('encoder.lora needs: pip install "attention-atlas[lora]".')
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise InputError(f"encoder.lora.{unknown[0]} is not possible: take {', '.join(OPTIONS)}.")
    from peft import LoraConfig, inject_adapter_in_model

    try:
        inject_adapter_in_model(LoraConfig(**options), model)
    except (TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"encoder.lora={options} is not possible: {reason}.") from error
