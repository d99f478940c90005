"""Names of earlier versions, which needed them to record a model of transformers."""

import warnings
from typing import TypeVar

from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

Model = TypeVar("Model", bound=PreTrainedModel)

# Scripts and saved configs name it as their `attn_implementation`.
NAME = "attention_atlas"
AttentionInterface.register(NAME, sdpa_attention_forward)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def wire(model: Model) -> Model:
    """Return the model as it is: `record` works on any, with the attention that it has."""
    warnings.warn(
        "wire(model) does nothing and is no longer needed: record(model) works on any model.",
        FutureWarning,
        stacklevel=2,
    )
    return model
