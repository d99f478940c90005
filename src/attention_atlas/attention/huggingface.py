"""An attention function for Hugging Face models, by the same kernel and with the same records.

`transformers` lets a model choose its attention function by name (its `AttentionInterface`).
`attention_atlas.pretrained` registers this one, so that this module needs torch only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from attention_atlas.attention.kernels import fused_attention
from attention_atlas.attention.masks import Mask, causal_mask
from attention_atlas.attention.observers import Pass, is_observed, notify
from attention_atlas.attention.scores import ScaledDot
from attention_atlas.attention.shapes import Keys, Values

NAME = "attention_atlas"
"""The `attn_implementation` of models that are recorded."""

# Parameters by which a module takes the keys of another sequence.
OTHER_SEQUENCES = {"key_value_states", "encoder_hidden_states"}


def interface_attention(
    module: nn.Module,
    query: Float[Tensor, "#batch heads queries width"],
    key: Keys,
    value: Values,
    attention_mask: Shaped[Tensor, "#batch #heads queries keys"] | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Float[Tensor, "#batch heads queries keys"] | None = None,
    **options: Any,
) -> tuple[Float[Tensor, "batch queries heads value_width"], None]:
    """Attend for a module of `transformers`, by one call of the fused kernel.

    The convention is that of `transformers`: a boolean `attention_mask` is True where a query
    attends, a float one is added to the scores, and so is `position_bias` (relative positions, as
    in T5). Without a mask, a causal module hides the keys after each query. `options` are those of
    other attention functions.

    Raises:
        ValueError: The model caps its scores, or needs attention sinks or paged attention, which
            the product kernel does not have.
    """
    for option in ("softcap", "s_aux", "cache"):
        if options.get(option) is not None:
            raise ValueError(
                f"{type(module).__name__} attends with {option}, which attn_implementation="
                f"{NAME!r} does not know; it cannot be recorded."
            )
    query = query.expand(key.shape[0], -1, -1, -1)  # learned queries come as a batch of one
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = bool(causal) and attention_mask is None and query.shape[2] > 1
    mask = Mask(attention_mask, causal)
    if position_bias is not None:
        mask = _with_bias(mask, position_bias, query, key)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    output = fused_attention(query, key, value, scale, mask, dropout)
    if is_observed(module):
        padding, grid = _padding_and_grid(module, attention_mask, query, key)
        score = ScaledDot(scale)
        notify(module, Pass(score, query, key, value, mask, output, dropout, padding, grid))
    return output.transpose(1, 2).contiguous(), None


def calls_interface(module: nn.Module) -> bool:
    """Whether a module attends through the attention interface of `transformers`."""
    forward = inspect.unwrap(type(module).forward)
    code = getattr(forward, "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names


def implementation_of(module: nn.Module) -> str | None:
    """Return the `attn_implementation` of a module that calls the interface."""
    config = getattr(module, "config", None)
    name: str | None = getattr(config, "_attn_implementation", None)
    return name


@contextmanager
def noting_sequences(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Note on modules that call the interface whether their keys are those of another sequence.

    Decoders attend to themselves and to the encoder by modules of one class.
    """
    called = [module for module in modules if calls_interface(module)]
    handles = [
        module.register_forward_pre_hook(_remember_sequence, with_kwargs=True) for module in called
    ]
    try:
        yield
    finally:
        for handle, module in zip(handles, called, strict=True):
            handle.remove()
            module.__dict__.pop("sees_others", None)


def _with_bias(mask: Mask, bias: Tensor, query: Tensor, key: Tensor) -> Mask:
    """Add a bias to a mask; a hidden key gets the smallest float, as in `sdpa`."""
    shown = mask.tensor
    if mask.is_causal:
        shown = causal_mask(query.shape[2], key.shape[2], key.device)
    if shown is None:
        return Mask(bias)
    if shown.dtype != torch.bool:
        return Mask(bias + shown)
    return Mask(torch.where(shown, bias, torch.finfo(bias.dtype).min))


def _padding_and_grid(
    module: nn.Module, attention_mask: Tensor | None, query: Tensor, key: Tensor
) -> tuple[Tensor | None, tuple[int, ...] | None]:
    """Return which queries [B, Q] are padding, and the grid; None if keys are of other tokens.

    A key that no query of a sample may attend to is padding.
    """
    if getattr(module, "sees_others", False) or query.shape[2] != key.shape[2]:
        return None, None
    padding = None
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        padding = ~attention_mask.expand(len(query), -1, -1, -1).any(dim=(1, 2))
    return padding, (key.shape[2],)


def _remember_sequence(
    module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """Note whether a module was called with the keys of another sequence."""
    bound = inspect.signature(type(module).forward).bind(module, *arguments, **named).arguments
    bound |= bound.get("kwargs", {})
    module.__dict__["sees_others"] = any(bound.get(name) is not None for name in OTHER_SEQUENCES)
