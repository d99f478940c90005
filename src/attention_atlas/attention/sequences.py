"""Whether the keys of a pass are the tokens of its queries, and which of them are padding."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from attention_atlas.attention.observers import Running
from attention_atlas.attention.positions import Grid

# Parameters by which modules take the tokens to attend to, where these are not their own.
OTHER_SEQUENCES = {"key_value_states", "encoder_hidden_states", "memory", "context"}


def padding_and_grid(
    entry: Running, attention_mask: Tensor | None, query: Tensor, key: Tensor
) -> tuple[Bool[Tensor, "batch queries"] | None, Grid | None]:
    """Return which queries are padding, and the grid; None if keys are of other tokens.

    A key that no query of a sample may attend to is padding.
    """
    if query.shape[2] != key.shape[2] or _sees_others(entry):
        return None, None
    padding = None
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        padding = ~attention_mask.expand(len(query), -1, -1, -1).any(dim=(1, 2))
    return padding, (key.shape[2],)


def _sees_others(entry: Running) -> bool:
    """Whether a module was called with the tokens of another sequence to attend to.

    Decoders attend to themselves and to the encoder by modules of one class.
    """
    kind: Any = type(entry.module)
    bound = _signature(kind).bind_partial(*entry.arguments, **entry.named).arguments
    bound |= bound.get("kwargs", {})
    if any(bound.get(name) is not None for name in OTHER_SEQUENCES):
        return True
    query, key = bound.get("query"), bound.get("key")
    return query is not None and key is not None and key is not query


@cache
def _signature(kind: type[nn.Module]) -> inspect.Signature:
    parameters = list(inspect.signature(kind.forward).parameters.values())
    return inspect.Signature(parameters[1:])
