"""Make Hugging Face models attend through our function, which `record` observes."""

import warnings
from typing import TypeVar

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from attention_atlas.attention.huggingface import NAME, implementation_of, interface_attention
from attention_atlas.attention.selection import attention_modules, why_none
from attention_atlas.errors import InputError

Model = TypeVar("Model", bound=PreTrainedModel)

AttentionInterface.register(NAME, interface_attention)
# Without a registered mask a model passes none, and padding is ignored silently.
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def wire(model: Model) -> Model:
    """Make a model of `transformers` attend by a function that `record` observes.

    It calls the same fused kernel as `attn_implementation="sdpa"`, with the same masks, so outputs
    do not change. Nothing of the model is patched or copied. A warning names modules that attend
    on their own.

    Returns:
        The same model.

    Raises:
        InputError: The model does not attend through the attention interface of transformers.
    """
    if not attention_modules(model):
        raise InputError(why_none(model))
    model.set_attn_implementation(NAME)
    for name, module in attention_modules(model).items():
        if implementation_of(module) != NAME:
            raise InputError(
                f"{name} of {type(model).__name__} has attn_implementation="
                f"{implementation_of(module)!r}, so its maps cannot be recorded."
            )
    unseen = _unseen(model)
    if unseen:
        warnings.warn(
            f"{', '.join(unseen)} of {type(model).__name__} attends on its own, not through the "
            "attention interface of transformers, and is not recorded.",
            stacklevel=2,
        )
    return model


def _unseen(model: PreTrainedModel) -> list[str]:
    """Return modules named attention that neither are, contain nor belong to an observed one."""
    seen = list(attention_modules(model))

    def is_apart(name: str) -> bool:
        return not any(f"{a}.".startswith(f"{b}.") for s in seen for a, b in ((name, s), (s, name)))

    named = (
        name
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Attention") and any(True for _ in module.parameters())
    )
    return [name for name in named if is_apart(name)]
