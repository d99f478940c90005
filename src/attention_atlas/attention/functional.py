"""Attention and its map as functions of queries, keys and values already split into heads."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

from attention_atlas.attention.kernels import repeat_heads
from attention_atlas.attention.masks import Mask, masked_softmax, merge_masks, part_of
from attention_atlas.attention.scores import Score
from attention_atlas.attention.shapes import Keys, Map, Outputs, Queries, Values

ROWS_PER_CHUNK = 16  # the additive formula makes a number per query, key and width


def attend(
    score: Score,
    query: Queries,
    key: Keys,
    value: Values,
    key_padding_mask: Shaped[Tensor, "batch keys"] | None = None,
    attn_mask: Shaped[Tensor, "*mask_size queries keys"] | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
) -> Outputs:
    """Attend with queries, keys and values that are already split into heads.

    Key and value may have fewer heads than the query, if their number divides its heads. Masks as
    in `Attention`. `dropout_p` always applies; pass 0 outside training.
    """
    mask = _mask(query, key, key_padding_mask, attn_mask, is_causal)
    return score.attend(query, key, value, mask, dropout_p)


def attention_map(
    score: Score,
    query: Queries,
    key: Keys,
    key_padding_mask: Shaped[Tensor, "batch keys"] | None = None,
    attn_mask: Shaped[Tensor, "*mask_size queries keys"] | None = None,
    is_causal: bool = False,
) -> Map:
    """Return the attention weights themselves, the map that `attend` never stores.

    Every row sums to 1, except fully masked rows, which are zeros. Masks as in `Attention`.
    """
    mask = _mask(query, key, key_padding_mask, attn_mask, is_causal)
    key = repeat_heads(key, query.shape[1])
    positions = torch.arange(query.shape[2], device=query.device)
    chunks = []
    for start in range(0, max(1, query.shape[2]), ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)
        tensor = None
        if mask.tensor is not None:
            tensor = part_of(mask.tensor, slice(None), rows, slice(None))
        causal_rows = positions[rows] if mask.is_causal else None
        chunks.append(masked_softmax(score.logits(query[:, :, rows], key), tensor, causal_rows))
    return torch.cat(chunks, dim=2)


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
    size = batch, heads, queries, key.shape[2]
    return merge_masks(size, query.dtype, key_padding_mask, attn_mask, is_causal)
