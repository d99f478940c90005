"""Attention of queries, keys and values that are already split into heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attention_atlas.attention.kernels import NUMBERS_PER_CPU_CHUNK, QUERIES_PER_CHUNK
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
    return reduce_rows(lambda rows: rows, score.logits, query, key, mask, positions)


def reduce_rows(
    reduce: Callable[[Tensor], Tensor],
    logits: Callable[[Tensor, Tensor], Tensor],
    query: Tensor,
    key: Tensor,
    mask: Mask,
    positions: Tensor,
) -> Tensor:
    """Compute the rows of a map in chunks and return what `reduce` makes of each, [B, H, Q, ...].

    A chunk is [B, H, 16 or fewer, K]; on a CPU it takes fewer samples, so that it stays in the
    cache. Shapes: query [B, H, Q, E], key [B, H, K, E]. `positions` [Q] says where the queries
    stand in the sequence, for a causal mask; the rows of `mask.tensor` are those of `query`.
    """
    samples, queries = _chunk_sizes(query, key)
    parts = []
    for first in range(0, max(1, query.shape[0]), samples):
        block = slice(first, first + samples)
        chunks = []
        for start in range(0, max(1, query.shape[2]), queries):
            rows = slice(start, start + queries)
            scores = logits(query[block, :, rows], key[block])
            causal_rows = positions[rows] if mask.is_causal else None
            hidden = _part(mask.tensor, block, rows)
            chunks.append(reduce(masked_softmax(scores, hidden, causal_rows)))
        parts.append(torch.cat(chunks, dim=2))
    return torch.cat(parts)


def _chunk_sizes(query: Tensor, key: Tensor) -> tuple[int, int]:
    """How many samples and queries make a chunk."""
    if query.device.type != "cpu":
        return max(1, query.shape[0]), QUERIES_PER_CHUNK
    row = max(1, query.shape[1] * key.shape[2])
    queries = max(1, min(QUERIES_PER_CHUNK, NUMBERS_PER_CPU_CHUNK // row))
    return max(1, NUMBERS_PER_CPU_CHUNK // (row * queries)), queries


def _part(mask: Tensor | None, samples: slice, rows: slice) -> Tensor | None:
    """The part of a mask that belongs to a chunk; dimensions of 1 hold for all."""
    if mask is not None and mask.shape[0] > 1:
        mask = mask[samples]
    if mask is not None and mask.shape[2] > 1:
        mask = mask[:, :, rows]
    return mask


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
