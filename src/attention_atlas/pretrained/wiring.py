"""Have Hugging Face models attend through our function, which `record` sees."""

import warnings
from typing import TypeVar

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from attention_atlas.attention.huggingface import NAME, implementation_of, interface_attention
from attention_atlas.attention.selection import attention_modules, why_none
from attention_atlas.errors import InputError

Model = TypeVar("Model", bound=PreTrainedModel)

AttentionInterface.register(NAME, interface_attention)
# Without its mask a model hands over none, and padding is ignored silently.
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def wire(model: Model) -> Model:
    """Have a model of `transformers` attend by one function that `record` sees.

    It is the fused kernel that `attn_implementation="sdpa"` calls, with the same masks: outputs
    stay as they are. Nothing of the model is patched or copied.

    Where parts of the model attend on their own, a warning names them.

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
                f"{name} of {type(model).__name__} keeps attn_implementation="
                f"{implementation_of(module)!r}, so its maps cannot be recorded."
            )
    unseen = _unseen(model)
    if unseen:
        warnings.warn(
            f"Of {type(model).__name__}, {', '.join(unseen)} attends on its own, not through the "
            "attention interface of transformers, and is not recorded.",
            stacklevel=2,
        )
    return model


def _unseen(model: PreTrainedModel) -> list[str]:
    """Modules that are called attention, and neither are, hold nor belong to one that is seen."""
    seen = list(attention_modules(model))

    def is_apart(name: str) -> bool:
        return not any(f"{a}.".startswith(f"{b}.") for s in seen for a, b in ((name, s), (s, name)))

    named = (
        name
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Attention") and any(True for _ in module.parameters())
    )
    return [name for name in named if is_apart(name)]
