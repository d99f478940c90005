"""Attention rollout: the weights of all layers, multiplied."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_atlas.analysis.attributions.raw import pool_rows
from attention_atlas.analysis.attributions.recorded_pass import Recorded
from attention_atlas.encoder import AttentionReadout


def mixing(maps: Tensor) -> Tensor:
    """What each token is made of after a layer: maps [B, H, K, K] to [B, K, K], rows sum to 1.

    0.5 A + 0.5 I with the mean A of the heads, divided by the sums of the rows (Abnar and Zuidema
    2020, section 3): half is the residual connection. Rows of a null key sum to less before that;
    it brings a value of zero, so what it took is given to the rest in proportion.
    """
    mean = maps.mean(dim=1)
    mixed = 0.5 * mean + 0.5 * torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    # Of the sums a column must be kept: without, column j would be divided by the sum of row j.
    return mixed / mixed.sum(dim=-1, keepdim=True)


def roll_out(maps: Sequence[Tensor], start: Tensor) -> Tensor:
    """Follow `start` [B, K], weights of the encoded tokens, back to the input: [B, K].

    r = s M_L ... M_1 for the maps [B, H, K, K] of the layers 1 to L and M = `mixing`. A row times a
    matrix, from the last layer to the first, is all that is needed of the product.
    """
    relevance = start
    for layer in reversed(maps):
        relevance = torch.einsum("bq,bqk->bk", relevance.to(layer.dtype), mixing(layer))
    return relevance


def encoded_weights(recorded: Recorded) -> Tensor:
    """How the readout weighs the encoded tokens, mean of heads: [B, K].

    The readout's row, all on the CLS token, or the same for each valid token.
    """
    if isinstance(recorded.model.readout, AttentionReadout):
        row = recorded.map(recorded.leading_module)
        return pool_rows(row, recorded.leading_weights)
    return recorded.pooling


def rollout(recorded: Recorded) -> Tensor:
    """Attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928): [B, K].

    r = s M_L ... M_1 with M = 0.5 A + 0.5 I, where s is the readout's row, the CLS token or the
    mean of the valid tokens. It sees neither values nor gates nor perceptrons. It sums to 1, with a
    null key in the readout to what its row sums to.
    """
    return roll_out(recorded.maps, encoded_weights(recorded))
