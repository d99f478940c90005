"""Padding, bias and causal masks, merged into the one mask that a kernel takes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from attention_atlas.attention.shapes import Map


class Mask(NamedTuple):
    """The keys that each query may attend to.

    Attributes:
        tensor: None, boolean (True = attended, as in `scaled_dot_product_attention`) or float
            (added to the scores); it broadcasts to [B, H, Q, K].
        is_causal: Query i attends to the keys up to i (top-left aligned). The kernel masks them, so
            that it needs no mask tensor.
        null_key: Every query has one more key, of score zero and value zero.
    """

    tensor: Tensor | None = None
    is_causal: bool = False
    null_key: bool = False


def merge_masks(
    size: tuple[int, int, int, int],
    dtype: torch.dtype,
    key_padding_mask: Shaped[Tensor, "batch keys"] | None = None,
    attn_mask: Shaped[Tensor, "*mask_size queries keys"] | None = None,
    is_causal: bool = False,
) -> Mask:
    """Merge masks in the convention of `nn.MultiheadAttention` into one; `size` is B, H, Q, K.

    In a boolean mask True means *not* attended; a float mask is added to the scores.
    `key_padding_mask` is [B, K]; `attn_mask` is [Q, K], [B*H, Q, K] or [B, H, Q, K], where the
    last form may have 1 in place of B and H.

    Raises ValueError if a mask has another shape, or is neither boolean nor float.
    """
    if key_padding_mask is None and attn_mask is None:
        return Mask(None, is_causal)
    batch, _, queries, keys = size
    parts = []
    if attn_mask is not None:
        parts.append(_attended(_four_dimensional(attn_mask, size), dtype))
    if key_padding_mask is not None:
        if key_padding_mask.shape != (batch, keys):
            raise ValueError(
                f"key_padding_mask has the shape {tuple(key_padding_mask.shape)}; "
                f"it must be [B, K] = {(batch, keys)}."
            )
        parts.append(_attended(key_padding_mask[:, None, None, :], dtype))
    if is_causal:
        # The kernels refuse is_causal beside a mask tensor.
        parts.append(causal_mask(queries, keys, parts[0].device))
    merged = parts[0]
    for part in parts[1:]:
        merged = _both(merged, part)
    return Mask(merged)


def causal_mask(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "{queries} {keys}"]:
    """Return which keys each query attends to if attention is causal."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()


def hide(
    logits: Map,
    mask: Shaped[Tensor, "#batch #heads #queries keys"] | None,
    causal_rows: Int[Tensor, "queries"] | None,
) -> Map:
    """Set the logits of keys that are not attended to -inf, or add a float mask.

    `causal_rows` are the positions of the queries if attention is causal, else None.
    """
    if mask is not None:
        if mask.dtype == torch.bool:
            logits = logits.masked_fill(~mask, -torch.inf)
        else:
            logits = logits + mask
    if causal_rows is not None:
        keys = torch.arange(logits.shape[-1], device=logits.device)
        logits = logits.masked_fill(keys > causal_rows[:, None], -torch.inf)
    return logits


def masked_softmax(
    logits: Map,
    mask: Shaped[Tensor, "#batch #heads #queries keys"] | None,
    causal_rows: Int[Tensor, "queries"] | None,
) -> Map:
    """Return the softmax of the logits that `hide` leaves; zeros, not NaN, where it leaves none."""
    logits = hide(logits, mask, causal_rows)
    if mask is None:
        return logits.softmax(-1)
    dead = logits.amax(-1, keepdim=True).isneginf()
    # Filled before as well as after: a NaN in between would reach the gradients.
    return logits.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0)


def restrict(
    mask: Shaped[Tensor, "#*size"], shown: Bool[Tensor, "#*size"]
) -> Shaped[Tensor, "*merged"]:
    """Hide the keys of a mask tensor that are not shown (boolean, True = attended)."""
    return mask & shown if mask.dtype == torch.bool else mask.masked_fill(~shown, -torch.inf)


def part_of(
    mask: Shaped[Tensor, "batch heads queries keys"], samples: slice, rows: slice, keys: slice
) -> Shaped[Tensor, "some_samples heads some_queries some_keys"]:
    """Return the slice of a mask tensor for a block; B, H and Q may be 1."""
    samples = samples if mask.shape[0] > 1 else slice(None)
    rows = rows if mask.shape[2] > 1 else slice(None)
    return mask[samples, :, rows, keys]


def fully_masked(mask: Shaped[Tensor, "*rows keys"]) -> Bool[Tensor, "*rows 1"]:
    """Return which rows of a mask (see `Mask`) hide every key."""
    hidden = ~mask if mask.dtype == torch.bool else mask.isneginf()
    return hidden.all(-1, keepdim=True)


def _four_dimensional(attn_mask: Tensor, size: tuple[int, int, int, int]) -> Tensor:
    batch, heads, queries, keys = size
    shape = tuple(attn_mask.shape)
    if shape == (queries, keys):
        return attn_mask[None, None]
    if shape == (batch * heads, queries, keys):
        return attn_mask.view(batch, heads, queries, keys)
    if (
        len(shape) == 4
        and shape[0] in (1, batch)
        and shape[1] in (1, heads)
        and shape[2:] == (queries, keys)
    ):
        return attn_mask
    raise ValueError(
        f"attn_mask has the shape {shape}; it must be [Q, K] = {(queries, keys)}, "
        f"[B*H, Q, K] = {(batch * heads, queries, keys)} "
        f"or [B, H, Q, K] = {(batch, heads, queries, keys)}."
    )


def _attended(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype == torch.bool:
        return ~mask
    if mask.is_floating_point():
        return mask.to(dtype)
    raise ValueError(f"A mask must be boolean or float, not {mask.dtype}.")


def _both(first: Tensor, second: Tensor) -> Tensor:
    if first.dtype == torch.bool and second.dtype == torch.bool:
        return first & second
    if first.dtype == torch.bool:
        first, second = second, first
    if second.dtype == torch.bool:
        hidden = torch.zeros((), dtype=first.dtype, device=first.device)
        return first + hidden.masked_fill(~second, -torch.inf)
    return first + second
