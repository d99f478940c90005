"""Attention of queries, keys and values that are already split into heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from attention_atlas.attention.kernels import QUERIES_PER_CHUNK
from attention_atlas.attention.masks import Mask, masked_softmax, merge_masks
from attention_atlas.attention.scores import Score


def attend(
    score: Score,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> Tensor:
    """Attend with queries, keys and values that are already split into heads.

    Shapes: query [B, H, Q, E], key [B, H, K, E], value [B, H, K, Ev] to [B, H, Q, Ev]. Key and
    value may have fewer heads than the query, if their number divides H. Masks as in `Attention`.
    `dropout_p` always applies; give 0 outside training.
    """
    mask = _mask(query, key, key_padding_mask, attn_mask, is_causal)
    return score.attend(query, key, value, mask, dropout_p)


def attention_map(
    score: Score,
    query: Tensor,
    key: Tensor,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """Return the attention weights themselves, [B, H, Q, K]: the map that `attend` never keeps.

    Every row sums to 1, but for fully masked rows, which are zeros. Shapes and masks as in
    `attend`.
    """
    mask = _mask(query, key, key_padding_mask, attn_mask, is_causal)
    groups = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(groups, dim=1) if groups > 1 else key
    positions = torch.arange(query.shape[2], device=query.device)
    return torch.cat(list(map_rows(score.logits, query, key, mask, positions)), dim=2)


def map_rows(
    logits: Callable[[Tensor, Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    mask: Mask,
    positions: Tensor,
) -> Iterator[Tensor]:
    """Yield the rows of a map, [B, H, 16 or fewer, K] at a time.

    Shapes: query [B, H, Q, E], key [B, H, K, E]. `positions` [Q] says where the queries stand in
    the sequence, for a causal mask; the rows of `mask.tensor` are those of `query`.
    """
    for start in range(0, max(1, query.shape[2]), QUERIES_PER_CHUNK):
        rows = slice(start, start + QUERIES_PER_CHUNK)
        tensor = mask.tensor
        if tensor is not None and tensor.shape[2] > 1:
            tensor = tensor[:, :, rows]
        causal_rows = positions[rows] if mask.is_causal else None
        yield masked_softmax(logits(query[:, :, rows], key), tensor, causal_rows)


def _mask(
    query: Tensor,
    key: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    is_causal: bool,
) -> Mask:
    batch, heads, queries, _ = query.shape
    if key.shape[1] == 0 or heads % key.shape[1] != 0:
        raise ValueError(
            f"The query has {heads} heads and the key {key.shape[1]}; "
            "the heads of the key must divide those of the query."
        )
    return merge_masks(
        batch, heads, queries, key.shape[2], query.dtype, key_padding_mask, attn_mask, is_causal
    )
