"""Have Hugging Face models attend through our function, which `record` sees."""

from typing import TypeVar

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from attention_atlas.attention.choice import attention_modules, why_none
from attention_atlas.attention.interface import NAME, implementation_of, interface_attention
from attention_atlas.errors import InputError

Model = TypeVar("Model", bound=PreTrainedModel)

AttentionInterface.register(NAME, interface_attention)
# Without its mask a model hands over none, and padding is ignored silently.
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def wire(model: Model) -> Model:
    """Have a model of `transformers` attend by one function that `record` sees.

    It is the fused kernel that `attn_implementation="sdpa"` calls, with the same masks: outputs
    stay as they are. Nothing of the model is patched or copied.

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
    return model
